# SPDX-License-Identifier: Apache-2.0
"""Plain services: their life, their network, and daemons that are killed under them."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from hosts import wait_for
from swarm import is_alive, kill_hard


# As process 1 of its namespace sleep ignores TERM; nothing here waits for a grace period.
SLEEP = ["--stop-signal", "SIGKILL", "host", "sleep", "100000"]


@pytest.fixture(scope="module")
def web(swarm):
    """Network mynet and service web: three tasks that sleep, one a node."""
    swarm.gswarm("network", "create", "--driver", "overlay", "mynet")
    out = swarm.gswarm("service", "create", "--name", "web", "--replicas", "3", "--network", "mynet", *SLEEP).stdout
    assert "converged" in out
    return swarm


def test_create_shows_and_spreads(web):
    tasks = web.wait_running("web", 3)
    assert sorted(t["node"] for t in tasks.values()) == [h.name for h in web.hosts]
    assert [t["name"] for _, t in sorted(tasks.items())] == ["web.1", "web.2", "web.3"]
    line = [x for x in web.gswarm("service", "ls").stdout.splitlines() if " web " in x][0].split()
    assert line[1:5] == ["web", "replicated", "3/3", "host"]
    header = web.gswarm("service", "ps", "web").stdout.splitlines()[0]
    assert header.split("   ") and "DESIRED STATE" in header and "CURRENT STATE" in header and "GALERA" not in header
    for n, t in tasks.items():
        with open(f"/proc/{t['status']['pid']}/cmdline", "rb") as f:
            assert f.read() == b"sleep\x00100000\x00", n
    assert len(web.gswarm("service", "ps", "-q", "web").stdout.split()) == 3


def test_inspect_json_and_pretty(web):
    d = json.loads(web.gswarm("service", "inspect", "web").stdout)[0]
    assert d["service"]["spec"]["task"]["args"] == ["sleep", "100000"]
    assert "Replicas:\t3" in web.gswarm("service", "inspect", "--pretty", "web").stdout
    n = json.loads(web.gswarm("network", "inspect", "mynet").stdout)[0]
    assert len(n["endpoints"]) == 3
    assert json.loads(web.gswarm("node", "inspect", "self").stdout)[0]["description"]["hostname"] == web.manager.name


def test_task_namespaces_are_visible(web):
    for t in web.running("web").values():
        h = web.host_of(t)
        inode = os.stat(f"/proc/{t['status']['pid']}/ns/net").st_ino
        assert inode in [os.stat(h.path(f"/run/netns/{n}")).st_ino for n in h.netns_names()]


def test_overlay_between_hosts(web):
    """Each task reaches each other with the largest packet that fits, unfragmented; one byte more must not pass."""
    tasks = web.running("web")
    for a in tasks.values():
        link = json.loads(web.in_task(a, "ip", "-j", "-4", "addr").stdout)
        mtu = [x["mtu"] for x in link for i in x["addr_info"] if i["local"] == web.address(a)][0]
        assert mtu == 1450
        for b in tasks.values():
            web.in_task(a, "ping", "-c1", "-W3", "-M", "do", "-s", str(mtu - 28), web.address(b))
            if a is not b:
                assert web.in_task(a, "ping", "-c1", "-W1", "-M", "do", "-s", str(mtu - 27), web.address(b),
                                   check=False).returncode


def test_managers_and_peers_cannot_be_called(web):
    """From a task, whose calls would be counted as its host's (second safety review, 5); the port beside is reached."""
    def calls(task, address, port):
        return web.in_task(task, "timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}", check=False).returncode
    tasks = web.running("web")
    for t in tasks.values():
        assert calls(t, web.manager.address, 2377) == 124
        assert calls(t, web.manager.address, 2378) == 124
        assert calls(t, web.host_of(t).address, 2378) == 124
        assert calls(t, web.manager.address, 2379) == 1  # refused: nobody listens


def test_fdb_is_repaired(web):
    """Entries that somebody deletes or changes come back by themselves."""
    tasks = web.running("web")
    a, b = tasks[1], tasks[2]
    mac, peer = b["addresses"][0]["mac"], web.host_of(b).address
    h = web.host_of(a)

    def entries():
        for n in h.netns_names():
            fdb = json.loads(h.run("bridge", "-j", "-n", n, "fdb", "show", check=False).stdout or "[]")
            for row in fdb:
                if row["mac"] == mac and row.get("dst"):
                    return n, row["ifname"], row["dst"]
        return None
    ns, link, dst = wait_for("an FDB entry for the peer", entries)
    assert dst == peer
    h.run("bridge", "-n", ns, "fdb", "del", mac, "dev", link, "dst", peer, "self", check=False)
    wait_for("a deleted FDB entry is back", lambda: (entries() or [None] * 3)[2] == peer, 40, 0.2)
    h.run("bridge", "-n", ns, "fdb", "replace", mac, "dev", link, "dst", "192.0.2.9", "self", "permanent")
    wait_for("a wrong FDB entry is corrected", lambda: (entries() or [None] * 3)[2] == peer, 40, 0.2)
    h.run("ip", "-n", ns, "neigh", "flush", "all", check=False)
    wait_for("the peer is reached", lambda: web.in_task(a, "ping", "-c1", "-W1", web.address(b),
                                                        check=False).returncode == 0, 40)


def test_crashed_task_is_replaced_in_place(web):
    tasks = web.running("web")
    old = tasks[2]
    kill_hard(old["status"]["pid"])
    new = wait_for("a new attempt", lambda: (lambda t: t if t and t["status"]["attempt"] > old["status"]["attempt"] else None)
                   (web.running("web").get(2)), 15)
    assert new["meta"]["id"] == old["meta"]["id"] and new["addresses"] == old["addresses"]
    assert web.pids("web")[1] == tasks[1]["status"]["pid"]


def test_worker_killed_tasks_adopted(web):
    """kill -9 of every worker: no task is restarted, and a crash afterwards is still noticed."""
    before = web.wait_running("web", 3)
    for h in web.hosts:
        h.kill_worker()
    for t in before.values():
        assert is_alive(t["status"]["pid"])
    for h in web.hosts:
        h.start_worker()
    web.wait_nodes(3, 20)
    after = web.wait_running("web", 3)
    assert {n: (t["status"]["pid"], t["status"]["attempt"]) for n, t in after.items()} == \
           {n: (t["status"]["pid"], t["status"]["attempt"]) for n, t in before.items()}
    kill_hard(after[3]["status"]["pid"])
    wait_for("a new attempt", lambda: web.pids("web").get(3) not in (None, after[3]["status"]["pid"]), 15)


def test_manager_killed_tasks_run_on(web):
    before = web.pids("web")
    kill_hard(web.manager.manager_pid())
    wait_for("the manager answers again", lambda: web.gswarm("service", "ls", check=False).returncode == 0, 20)
    assert web.pids("web") == before
    web.gswarm("service", "scale", "web=4")
    web.gswarm("service", "scale", "web=3")
    after = web.pids("web")
    assert {n: after[n] for n in after} == before


def test_scale_and_addresses(web):
    before = web.running("web")
    web.gswarm("service", "scale", "web=6")
    six = web.wait_running("web", 6)
    assert len({web.address(t) for t in six.values()}) == 6
    web.gswarm("service", "scale", "web=3")
    assert {n: t["status"]["pid"] for n, t in web.wait_running("web", 3).items()} == \
           {n: t["status"]["pid"] for n, t in before.items()}


def test_logs(swarm):
    swarm.gswarm("service", "create", "--name", "talk", "--stop-signal", "SIGKILL", "host", "sh", "-c", "echo to-out; echo to-err >&2; sleep 100000")
    wait_for("both lines", lambda: {"to-out", "to-err"} <= {x.rpartition("| ")[2] for x in swarm.logs("talk")})
    raw = swarm.gswarm("service", "logs", "--raw", "--tail", "1", "talk")
    assert (raw.stdout + raw.stderr).strip() in ("to-out", "to-err")
    swarm.gswarm("service", "rm", "talk")


def test_logs_through_a_rotation(swarm):
    """FINDINGS W12, U1, D2: after a burst that is rotated away the last lines are there, long ones whole, --tail 0 is nothing."""
    swarm.gswarm("service", "create", "--name", "burst", "--stop-signal", "SIGKILL", "host", "sh", "-c",
                 "head -c 30000 /dev/zero | tr '\\0' x; echo; seq -f 'line %012.0f of a burst that is to be rotated away, and soon' "
                 "230000; echo last; exec sleep 100000")
    t = swarm.wait_running("burst", 1)[1]
    host = next(h for h in swarm.hosts if h.name == t["node"])
    folder = os.path.join(host.dir, "lib", "worker", "tasks", t["meta"]["id"])
    wait_for("a rotation", lambda: os.path.exists(os.path.join(folder, "log.1")), 30)

    def logs(*options):
        return swarm.gswarm("service", "logs", "--raw", *options, "burst").stdout.splitlines()
    assert logs("--tail", "0") == []
    assert logs("--tail", "2") == ["line 000000230000 of a burst that is to be rotated away, and soon", "last"]
    whole = logs()
    assert len(whole) == 230002 and whole[0] == "x" * 30000 and whole[-1] == "last"
    assert logs("--since", "0s") == []
    stamp, node = swarm.gswarm("service", "logs", "-t", "--details", "--tail", "1", "burst").stdout.split()[:2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) and t["node_id"] in node and t["meta"]["id"] in node
    assert logs("--since", stamp)[-1:] == ["last"]
    follower = swarm.manager.popen("gswarm", "service", "logs", "--raw", "--follow", "--tail", "1", "burst",
                                   stdout=subprocess.PIPE)
    assert follower.stdout.readline() == "last\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    swarm.gswarm("service", "rm", "burst")


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) << 10


def test_logs_wait_for_a_pager(swarm):
    """FINDINGS P2: who pages through the logs stops reading for longer than any call may last, and then reads on: all lines are there,
    in order, and what is behind the page waits at the task's node."""
    count = 80000
    swarm.gswarm("service", "create", "--name", "book", "--stop-signal", "SIGKILL", "--constraint",
                 f"node.hostname=={swarm.hosts[1].name}", "host", "sh", "-c", f"seq -f '%090.0f' {count}; exec sleep 100000")
    wait_for("the last line", lambda: any(x.endswith(f"{count:090}") for x in swarm.logs("book", "--tail", "1")), 30)
    manager = swarm.manager.manager_pid()
    memory = resident(manager)
    reader = swarm.manager.popen("timeout", "45", "gswarm", "service", "logs", "--raw", "book", stdout=subprocess.PIPE)
    first = reader.stdout.readline()
    time.sleep(11)  # the pause is what is tested
    assert resident(manager) - memory < 4 << 20, "the manager holds what nobody reads"
    lines = [first] + reader.stdout.readlines()
    assert lines == [f"{n:090}\n" for n in range(1, count + 1)]
    assert reader.wait(10) == 0
    swarm.gswarm("service", "rm", "book")


def test_limits_and_mounts(swarm):
    swarm.gswarm("service", "create", "--name", "small", "--stop-signal", "SIGKILL", "--limit-memory", "64m", "--limit-pids", "50", "--mount",
                 "type=tmpfs,target=/tmp/t,tmpfs-size=1m", "--mount", "type=volume,target=/data", "--env", "WORD=hello",
                 "--constraint", f"node.hostname=={swarm.hosts[1].name}", "host", "sh", "-c",
                 "echo $WORD > /data/word; cat /data/word; exec sleep 100000")
    t = swarm.wait_running("small", 1)[1]
    assert t["node"] == swarm.hosts[1].name
    with open(f"/proc/{t['status']['pid']}/cgroup", encoding="utf-8") as f:
        groups = dict(line.strip().split(":")[1:] for line in f)
    if "memory" in groups:
        with open(f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes", encoding="utf-8") as f:
            assert int(f.read()) == 64 << 20
    wait_for("its word", lambda: any("hello" in x for x in swarm.logs("small")))
    # the volume outlives the process
    kill_hard(t["status"]["pid"])
    wait_for("a new attempt", lambda: swarm.pids("small").get(1) not in (None, t["status"]["pid"]), 15)
    swarm.gswarm("service", "rm", "small")


def test_global_mode(swarm):
    swarm.gswarm("service", "create", "--name", "everywhere", "--mode", "global", *SLEEP)
    nodes = {t["node"] for t in swarm.tasks("everywhere", running=False)}
    assert nodes == {h.name for h in swarm.hosts}
    swarm.gswarm("service", "rm", "everywhere")


def test_bad_input(web, refused):
    m = web.manager
    refused(m, "service", "create", "--name", "web", "host", "true", says="web")
    refused(m, "service", "create", "--network", "nonet", "host", "true", says="nonet")
    refused(m, "service", "create", "--name", "no name!", "host", "true", says="name")
    refused(m, "service", "create", "ftp://what", "true", says="ftp://what|image")
    refused(m, "service", "create", "--constraint", "node.mood==good", "host", "true", says="node.mood")
    for argv in (["service", "ps"], ["service", "inspect"], ["service", "rm"], ["service", "logs"]):
        refused(m, *argv, "nosuch", says="nosuch")
    refused(m, "service", "scale", "nosuch=2", says="nosuch")
    refused(m, "node", "inspect", "nosuch", says="nosuch")
    refused(m, "network", "rm", "nosuch", says="nosuch")
    refused(m, "network", "rm", "mynet", says="use")
    refused(m, "network", "create", "mynet", says="mynet")
    refused(m, "network", "create", "--driver", "token-ring", "x", says="token-ring")
    subnet = json.loads(web.gswarm("network", "inspect", "mynet").stdout)[0]["network"]["subnet"]
    refused(m, "network", "create", "--subnet", subnet, "x", says="overlap")
    refused(m, "network", "create", "--subnet", "10.1.2.3/24", "x", says="10.1.2.3/24")
    refused(m, "network", "create", "--subnet", "127.1.0.0/16", "x", says="127.1.0.0/16")
    refused(m, "galera", "status", "web", says="galera")
    refused(m, "service", "create", "--name", "web.1", "host", "true", says="dot")  # the name of a task of web
    refused(m, "service", "create", "--name", "x", "--stop-signal", "SIGFOO", "host", "true", says="SIGFOO")
    names = {n["name"] for n in web.lines("service", "ls")}
    assert names == {"web"}, "refused commands must leave nothing behind"


def test_missing_image_is_told(swarm):
    done = swarm.gswarm("service", "create", "--name", "gone", "dir:/no/such/folder", "true", check=False, timeout=30)
    assert done.returncode == 1 and "/no/such/folder" in done.stderr, done.stdout + done.stderr
    swarm.gswarm("service", "rm", "gone")


def test_rm_leaves_nothing(web):
    """The last of those with web: everything goes."""
    pids = web.pids("web").values()
    web.gswarm("service", "rm", "web")
    assert not any(is_alive(p) for p in pids)
    web.gswarm("network", "rm", "mynet")
    for h in web.hosts:
        wait_for(f"{h.name}: no namespaces left", lambda h=h: not h.netns_names(), 10)
        for n in os.listdir("/sys/fs/cgroup"):
            for i in h.node_ids():
                folder = f"/sys/fs/cgroup/{n}/gswarm/{i}"
                left = [d for d in os.listdir(folder) if d != "manager" and os.path.isdir(f"{folder}/{d}")] \
                    if os.path.isdir(folder) else []
                assert not left, f"{folder}: {left}"


def folders_left(swarm):
    """What the workers keep of tasks, on disk and in /run."""
    return [x for h in swarm.hosts for d in ("/var/lib/gswarm/worker/tasks", "/run/gswarm/tasks") for x in os.listdir(h.path(d))]


def test_removed_tasks_leave_no_folders(swarm):
    """Also when the managers forget a task while its worker still cleans up, and when that worker is killed then."""
    swarm.gswarm("service", "create", "--name", "many", "--replicas", "18", *SLEEP)
    swarm.gswarm("service", "rm", "many")
    wait_for("no folder of a task", lambda: not folders_left(swarm))
    swarm.gswarm("service", "create", "--name", "many", "--replicas", "18", *SLEEP)
    swarm.gswarm("service", "rm", "many")
    for h in swarm.hosts:
        h.kill_worker()
        h.start_worker()
    wait_for("no folder of a task", lambda: not folders_left(swarm), 15)
