# SPDX-License-Identifier: Apache-2.0
"""What the daemons and the tasks' monitors cost one host in memory and processor time.

Idle, then with 300 tasks in a swarm of three hosts: as one service, and as 300 services of one task. A task's share is what
the daemons and the monitors of its host grew by, in PSS (a page that several processes share is divided among them): neither
the task itself nor what all tasks share counts twice. The monitor is then measured by itself against the smallest that could
take its place.
"""
import os
import subprocess
import tempfile
import time

from docker_peer import DockerSwarm
from hosts import all_pids, namespace_of, run, wait_for
from swarm import Swarm, median

QUOTED = {"mib": 135.0, "cpu": 0.8, "task": 14.7}  # Docker Swarm 20.10 (three managers), medians of n=5 on such hosts
TASKS = 300
SPAN = 20  # seconds for which processor time is counted
# Waits for a child, copies a pipe into a file: less than any monitor has to do.
LEAST_C = """#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char *buf = malloc(8192);
	int p[2], log = open("/dev/null", O_WRONLY);
	if (pipe(p) || log < 0) return 1;
	pid_t child = fork();
	if (child == 0) { close(p[0]); dup2(p[1], 1); execvp(argv[1], argv + 1); _exit(127); }
	close(p[1]);
	for (ssize_t n; (n = read(p[0], buf, 8192)) > 0;)
		if (write(log, buf, (size_t)n) < 0) return 1;
	return waitpid(child, NULL, 0) != child;
}
"""


def daemons(host):
    """Our daemons and the tasks' monitors on a host; not the tasks."""
    net, found = namespace_of(host.anchor, "net"), {}
    for pid in all_pids():
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                name = f.read().strip()
        except OSError:
            continue
        if (name.startswith("gswarm") or name == "conmon") and namespace_of(pid, "net") == net:
            found[pid] = name
    return found


def memory_mib(pids, what="Rss"):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith(what + ":"))
    return total / 1024


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as f:
                total += int(f.read().split()[0])
    return total


def cpu_by_name(pids, span=SPAN):
    """{name: percent of a core} of {pid: name}."""
    before, begin = {p: cpu_ns([p]) for p in pids}, time.monotonic()
    time.sleep(span)
    took, share = (time.monotonic() - begin) * 1e7, {}
    for p, name in pids.items():
        share[name] = share.get(name, 0) + (cpu_ns([p]) - before[p]) / took
    return share


def cpu_percent(pids):
    return sum(cpu_by_name(dict.fromkeys(pids, "")).values())


def with_tasks(s, n, create, remove, note, what):
    """Samples (share of a core, PSS of a task in MiB) with TASKS tasks."""
    h = s.manager
    empty = memory_mib(daemons(h), "Pss")
    create()
    here = sum(name == "conmon" for name in daemons(h).values())
    time.sleep(10)  # what starting took is over, its pages are given back
    samples = [cpu_by_name(daemons(h)) for _ in range(n)]
    cpu = [sum(c.values()) for c in samples]
    monitors = [p for p, name in daemons(h).items() if name == "conmon"]
    rest = [p for p, name in daemons(h).items() if name != "conmon"]
    task = (memory_mib(daemons(h), "Pss") - empty) / here
    note(f"{what}: {', '.join(f'{c:.2f}' for c in cpu)} % of a core, {here} tasks here; a task {task:.2f} MiB PSS, its monitor "
         f"{memory_mib(monitors, 'Pss') / here:.3f} MiB (private {memory_mib(monitors, 'Private_Dirty') / here:.3f}); "
         f"daemons {memory_mib(rest):.1f} MiB")
    note("  of it " + ", ".join(f"{name} {median([c[name] for c in samples]):.2f} %" for name in samples[0]))
    remove()
    time.sleep(10)
    return cpu, task


def one_service(s, nap):
    s.gswarm("service", "create", "-q", "--name", "s", "--replicas", str(TASKS), "--network", "mynet", "host", *nap, timeout=120)


def many_services(s, nap):
    for i in range(TASKS):
        s.gswarm("service", "create", "-q", "-d", "--name", f"s{i}", "--network", "mynet", "host", *nap)
    wait_for("all run", lambda: s.gswarm("service", "ls").stdout.split().count("1/1") == TASKS, 120, 0.5)


def no_services(s):
    for i in range(TASKS):
        s.gswarm("service", "rm", "-d", f"s{i}", check=False)
    wait_for("nothing is left", lambda: not any("conmon" in daemons(h).values() for h in s.hosts), 120, 0.5)


def least_monitor(note, count=100):
    """PSS of the least monitor there can be, statically linked, and how long it takes to start."""
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/least.c", "w", encoding="utf-8") as f:
            f.write(LEAST_C)
        run(["gcc", "-Os", "-static", "-o", f"{d}/least", f"{d}/least.c"])
        running = [subprocess.Popen([f"{d}/least", "sleep", "1000"], stdin=subprocess.DEVNULL) for _ in range(count)]
        time.sleep(1)
        pss = memory_mib([p.pid for p in running], "Pss") / count
        private = memory_mib([p.pid for p in running], "Private_Dirty") / count
        for p in running:
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                os.kill(int(f.read().split()[0]), 15)
        for p in running:
            p.wait(10)
    note(f"the least monitor, {count} at once: {pss:.3f} MiB PSS each (private {private:.3f})")
    return pss


def docker_footprint(n, note):
    peer = DockerSwarm()
    try:
        h = peer.form().bed.hosts[0]
        time.sleep(20)
        idle = [(memory_mib(peer.daemons(h)), cpu_percent(peer.daemons(h))) for _ in range(n)]
        before = memory_mib(peer.daemons(h), "Pss")
        peer.create("s", 30)
        peer.wait_running("s", 30)
        time.sleep(10)
        here = len(peer.api(h).get("containers/json"))
        task = (memory_mib(peer.daemons(h), "Pss") - before) / here
    finally:
        peer.down()
    got = {"mib": median([i[0] for i in idle]), "cpu": median([i[1] for i in idle]), "task": task}
    note(f"Docker Swarm: {got['mib']:.0f} MiB and {got['cpu']:.2f} % of a core idle, a task {got['task']:.1f} MiB PSS ({here} here)")
    return got


def footprint(n, build, with_docker, nap, note):
    docker = docker_footprint(n, note) if with_docker else QUOTED
    s = Swarm("bench", 3, build).form()
    try:
        s.gswarm("network", "create", "--subnet", "10.200.0.0/22", "mynet")
        h = s.manager
        time.sleep(10)
        idle = [(cpu_percent(daemons(h)), memory_mib(daemons(h))) for _ in range(n)]
        note(", ".join(f"{name} {memory_mib([pid]):.1f} MiB" for pid, name in sorted(daemons(h).items())))
        cpu, task = with_tasks(s, n, lambda: one_service(s, nap), lambda: s.gswarm("service", "rm", "s", timeout=120), note,
                               f"{TASKS} tasks of one service")
        cpu_many, task_many = with_tasks(s, n, lambda: many_services(s, nap), lambda: no_services(s), note,
                                         f"{TASKS} services of one task")
    finally:
        s.down()
    least_monitor(note)
    calm, mib = median([i[0] for i in idle]), median([i[1] for i in idle])
    busy, share = max(median(cpu), median(cpu_many)), max(task, task_many)
    ok = mib <= 10 and calm <= 0.2 and busy <= 0.5 and share <= 0.5
    return ok, (f"footprint: {mib:.1f} MiB and {calm:.2f} % of a core idle, {busy:.2f} % with {TASKS} tasks, {share:.2f} MiB PSS a task "
                f"on the manager's host; Docker Swarm {docker['mib']:.0f} MiB, {docker['cpu']:.2f} %, {docker['task']:.1f} MiB a task "
                f"({'same run' if with_docker else 'quoted from a run on such hosts'}), n={n} "
                f"(target <= 10 MiB, <= 0.2 %, <= 0.5 %, <= 0.5 MiB)")
