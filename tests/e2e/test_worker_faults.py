# SPDX-License-Identifier: Apache-2.0
"""Workers that are killed at any moment, and what a task may leave behind: nothing."""
import glob
import os
import shutil
import random
import signal
import subprocess
import time

import pytest

from hosts import HostError, all_pids, namespace_of, start_time, wait_for
from swarm import is_alive, kill_hard

HOSTS = 2
SLEEP = ["--stop-signal", "SIGKILL", "host", "sleep", "100000"]
STATE = "/var/lib/gswarm/worker/tasks"


def names(path):
    return os.listdir(path) if os.path.isdir(path) else []


def monitors(host):
    """The container ids that have a monitor (conmon) or a runtime (crun) on this host, one for each process."""
    net, found = namespace_of(host.anchor, "net"), []
    for pid in all_pids():
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
                words = f.read().split("\0")
        except OSError:
            continue
        if namespace_of(pid, "net") == net and words[0].endswith("/conmon"):
            found.append(words[words.index("-c") + 1])
        elif namespace_of(pid, "net") == net and words[0].endswith("/crun"):
            found.append(words[-2])
    return found


def groups(host):
    node = list(host.node_ids())
    return [d for n in node for d in glob.glob(f"/sys/fs/cgroup/*/gswarm/{n}/*") + glob.glob(f"/sys/fs/cgroup/gswarm/{n}/*")
            if os.path.isdir(d) and os.path.basename(d) != "manager"]


def traces(host):
    """What of tasks is on this host, as pairs (where, task id)."""
    found = {("state", n) for n in names(host.path(STATE))} | {("run", n) for n in names(host.path("/run/gswarm/tasks"))}
    for folder in ("crun", "exits"):
        found |= {(folder, n.split(".")[0]) for n in names(host.path(f"/run/gswarm/{folder}"))}
    found |= {("cgroup", os.path.basename(d).split(".")[0]) for d in groups(host)}
    return found | {("process", n.split(".")[0]) for n in monitors(host)}


def task_id(task):
    return task["meta"]["id"]


def problems(swarm, services):
    """What is not as it must be: every wanted task runs once, and nothing else is there. services: name -> replicas."""
    bad, tasks = [], []
    for name, replicas in services.items():
        running = swarm.running(name)
        tasks += running.values()
        if len(running) != replicas:
            bad.append(f"{name}: {len(running)} of {replicas} run")
    for h in swarm.hosts:
        mine = {task_id(t): t for t in tasks if t["node"] == h.name}
        bad += [f"{h.name}: left {x}" for x in traces(h) if x[1] not in mine]
        watched = [n.split(".")[0] for n in monitors(h)]
        bad += [f"{h.name}: {watched.count(i)} monitors of {i}" for i in mine if watched.count(i) != 1]
        bad += [f"{h.name}: {t['name']} is not alive" for t in mine.values() if not is_alive(t["status"]["pid"])]
        want = {t["name"] for t in mine.values()}
        have = {n for n in h.netns_names() if not n.startswith("gs")}
        if want != have:
            bad.append(f"{h.name}: namespaces {have}, tasks {want}")
    return bad


def settle(swarm, services, timeout=20):
    end, bad = time.monotonic() + timeout, None
    while (bad is None or bad) and time.monotonic() < end:
        if bad is not None:
            time.sleep(0.1)
        try:
            bad = problems(swarm, services)
        except HostError as e:
            bad = [str(e)]
    assert bad == []


@pytest.fixture(scope="module")
def bed(swarm):
    swarm.gswarm("network", "create", "--driver", "overlay", "mynet")
    return swarm


def create(swarm, name, replicas, *what):
    return swarm.gswarm("service", "create", "-d", "--name", name, "--replicas", str(replicas), "--network", "mynet",
                        *(what or SLEEP))


def test_removed_while_it_waits_to_restart(bed):
    """The attempt before the one that waits must go as well."""
    create(bed, "loop", 1, "host", "sh", "-c", "exit 3")
    wait_for("attempt 5", lambda: [t for t in bed.tasks("loop").values() if t.get("status", {}).get("attempt", 0) >= 5], 15)
    bed.gswarm("service", "rm", "loop")
    settle(bed, {})


def test_ended_attempts_leave_no_bundle(bed):
    create(bed, "loop", 1, "host", "sh", "-c", "exit 3")
    task = wait_for("attempt 5", lambda: [t for t in bed.tasks("loop").values()
                                          if t.get("status", {}).get("attempt", 0) >= 5], 15)[0]
    folder = bed.host_of(task).path(f"/run/gswarm/tasks/{task_id(task)}")
    wait_for("old bundles gone", lambda: len([n for n in names(folder) if n.isdigit()]) <= 2, 5)
    bed.gswarm("service", "rm", "loop")
    settle(bed, {})


@pytest.mark.parametrize("delay_ms", [15, 25, 35, 50])
def test_worker_killed_while_it_creates(bed, delay_ms):
    """A container whose creation was under way is taken over with its monitor, or made anew; never left alone."""
    host = bed.hosts[1]
    create(bed, "cut", 6)
    time.sleep(delay_ms / 1000)
    host.kill_worker()
    host.start_worker()
    settle(bed, {"cut": 6})
    bed.gswarm("service", "rm", "cut")
    settle(bed, {})


def test_attempts_that_were_not_launched_count(bed):
    """The managers take no report of an older attempt than they know, and a killed worker must not fall back."""
    host = bed.hosts[1]
    host.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", STATE)
    try:
        create(bed, "full", 2)
        wait_for("attempt 4", lambda: [t for t in bed.tasks("full").values() if t["node"] == host.name
                                       and t.get("status", {}).get("attempt", 0) >= 4], 15)
        host.kill_worker()
    finally:
        host.run("umount", STATE)
    host.start_worker()
    settle(bed, {"full": 2})
    bed.gswarm("service", "rm", "full")
    settle(bed, {})


def test_rotation_cut_off(bed):
    """The worker was killed between the rename of a log and its word to the monitor."""
    create(bed, "chat", 1, "--stop-signal", "SIGKILL", "host", "sh", "-c", "while echo hello; do sleep 0.2; done")
    task = bed.wait_running("chat", 1)[1]
    host = bed.host_of(task)
    log = host.path(f"{STATE}/{task_id(task)}/log")
    host.kill_worker()
    os.rename(log, log + ".1")
    host.start_worker()
    wait_for("a new log", lambda: os.path.exists(log) and os.path.getsize(log) > 0, 15)
    bed.gswarm("service", "rm", "chat")
    settle(bed, {})


def test_lost_file_is_made_again(bed):
    """What a container needs is made anew when it cannot be created."""
    create(bed, "lost", 1, "--stop-signal", "SIGKILL", "host", "sh", "-c",
           "[ -e /run/task/x ] && exec sleep 100000; touch /run/task/x; sleep 1; exit 3")
    task = bed.wait_running("lost", 1)[1]
    shutil.rmtree(bed.host_of(task).path(f"/run/gswarm/tasks/{task_id(task)}/names"))
    wait_for("running again", lambda: bed.pids("lost").get(1, task["status"]["pid"]) != task["status"]["pid"], 10)
    settle(bed, {"lost": 1})
    bed.gswarm("service", "rm", "lost")
    settle(bed, {})


def test_monitor_killed(bed):
    """Its task runs on, and a restart of the worker does not disturb it; its end is then unknown and it is restarted."""
    create(bed, "alone", 1)
    task = bed.wait_running("alone", 1)[1]
    host, pid = bed.host_of(task), task["status"]["pid"]
    with open(host.path(f"/run/gswarm/tasks/{task_id(task)}/1/conmon.pid"), encoding="utf-8") as f:
        kill_hard(int(f.read()))
    host.kill_worker()
    host.start_worker()
    assert wait_for("adopted", lambda: bed.pids("alone"))[1] == pid
    kill_hard(pid)
    wait_for("restarted", lambda: bed.pids("alone").get(1, pid) != pid, 10)
    settle(bed, {"alone": 1})
    bed.gswarm("service", "rm", "alone")
    settle(bed, {})


def wish(rng, services, serial):
    """A random change: its command and what then is wanted."""
    verb = rng.choice(["create", "create", "scale", "rm", "crash"])
    if verb in ("create", "crash") or not services:
        name, replicas = f"s{serial}", rng.randint(1, 4)
        crash = ["--stop-signal", "SIGKILL", "host", "sh", "-c",
                 "[ -e /run/task/x ] && exec sleep 100000; touch /run/task/x; exit 3"]
        return ["service", "create", "-d", "--name", name, "--replicas", str(replicas),
                *(["--network", "mynet"] if rng.random() < 0.7 else []), *(crash if verb == "crash" else SLEEP)], \
            {**services, name: replicas}
    name = rng.choice(sorted(services))
    if verb == "rm" or len(services) > 3:
        return ["service", "rm", name], {n: r for n, r in services.items() if n != name}
    replicas = rng.randint(0, 5)
    return ["service", "scale", "-d", f"{name}={replicas}"], {**services, name: replicas}


def restart_workers(rng, hosts):
    for _ in range(rng.choice([1, 1, 2])):  # twice: killed again while it adopts
        sig = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        for h in hosts:
            h.kill_worker(sig)
        time.sleep(rng.choice([0, 0.05, 0.3]))
        for h in hosts:
            h.start_worker(wait=False)
        time.sleep(rng.choice([0.01, 0.05, 0.1, 0.2]))
    for h in hosts:
        h.wait_worker()


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random(bed, seed):
    """60 changes, each with workers killed in the middle: all that ran runs on, all that is wanted runs once."""
    rng, services = random.Random(seed), {}
    for serial in range(60):
        before = {task_id(t): (t["status"]["pid"], start_time(t["status"]["pid"])) for n in services
                  for t in bed.running(n).values()}
        argv, services = wish(rng, services, serial)
        with bed.manager.popen("gswarm", *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as command:
            time.sleep(rng.choice([0, 0.02, 0.04, 0.08, 0.15, 0.3]))
            restart_workers(rng, rng.sample(bed.hosts, rng.randint(1, len(bed.hosts))))
            text = command.communicate(timeout=60)[0]
        assert command.returncode == 0, f"seed {seed} round {serial} {argv}: {text}"
        settle(bed, services)
        after = {task_id(t): t["status"]["pid"] for n in services for t in bed.running(n).values()}
        for i, (pid, started) in before.items():
            assert i not in after or (after[i] == pid and start_time(pid) == started), f"seed {seed} round {serial}: {i}"
    for n in services:
        bed.gswarm("service", "rm", n)
    settle(bed, {})


@pytest.mark.long
def test_manager_killed_while_scaling(bed):
    """Reports may be answered late, twice or never: in the end as many run as were asked for, none twice."""
    create(bed, "many", 3)
    for replicas in [20, 3, 20, 7, 15, 4]:
        bed.gswarm("service", "scale", "-d", f"many={replicas}")
        time.sleep(0.15)
        kill_hard(wait_for("a manager", bed.manager.manager_pid))
        wait_for("a manager again", lambda: bed.gswarm("service", "ls", check=False).returncode == 0, 20)
        settle(bed, {"many": replicas}, 30)
    bed.gswarm("service", "rm", "many")
    settle(bed, {})
