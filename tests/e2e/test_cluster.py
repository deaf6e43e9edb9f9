# SPDX-License-Identifier: Apache-2.0
"""Making, entering and leaving a swarm, and the words that must not work."""
import os
import re
import socket
import subprocess
import time
from datetime import datetime

import pytest

from hosts import wait_for
from swarm import is_alive, kill_hard

FRESH_HOSTS = 2


def test_no_swarm_yet(fresh, refused):
    a = fresh.manager
    for argv in (["node", "ls"], ["service", "ls"], ["network", "create", "n"], ["join-token", "worker"]):
        refused(a, *argv, says=["not part of a swarm", "gswarm init"])
    refused(a, "leave", says="swarm")
    assert "inactive" in a.gswarm("system", "info").stdout


def test_usage_errors(fresh, refused):
    a = fresh.manager
    refused(a, "init", "--colour", "red", says="unknown option --colour", code=2)
    refused(a, "swarm", "init", "extra", says="no argument", code=2)
    refused(a, "fly", says="unknown command 'fly'", code=2)
    refused(a, "service", "create", says="at least 1", code=2)
    refused(a, "service", "create", "--replicas", "many", "host", says="--replicas", code=2)
    refused(a, "service", "create", "--topology", "ring", "host", says="none\\|galera", code=2)
    refused(a, "join", fresh.hosts[1].address, says="--token", code=2)
    refused(a, "init", "--default-addr-pool", "10.0.0.300/8", says="--default-addr-pool", code=2)


def test_init_cut_off(fresh):
    """The worker is killed after the manager has made the cluster and before it knows: the next init works."""
    a = fresh.manager
    a.gswarm("init", "--advertise-addr", a.address)
    a.kill_worker()
    manager = a.manager_pid()
    for name in ("state.json", "node.crt", "node.key", "ca.crt"):
        os.unlink(a.path("/var/lib/gswarm/worker/" + name))
    with open(a.path("/var/lib/gswarm/worker/init"), "w", encoding="utf-8") as f:
        f.write("x")
    a.start_worker()
    wait_for("the end of the half-made manager", lambda: not is_alive(manager))
    wait_for("an init", lambda: a.gswarm("init", "--advertise-addr", a.address, check=False).returncode == 0)
    assert a.gswarm("node", "ls", "-q").stdout.count("\n") == 1


def test_worker_not_running(fresh, refused):
    a = fresh.manager
    a.kill_worker()
    refused(a, "node", "ls", says="gswarm-worker is not running")
    refused(a, "init", says="gswarm-worker is not running")
    a.start_worker()
    a.gswarm("init", "--advertise-addr", a.address)


def test_init_join_and_tokens(fresh, refused):
    a, b = fresh.hosts
    out = a.gswarm("init", "--advertise-addr", a.address).stdout
    token = re.search(r"gswarm join --token (GSWMTKN-1-\S+) " + re.escape(a.address) + ":2377", out).group(1)
    assert token == fresh.token("worker")
    refused(a, "init", "--advertise-addr", a.address, says="already")
    refused(a, "join", "--token", token, f"{a.address}:2377", says="already")

    wrong = token[:-4] + ("zzzz" if not token.endswith("zzzz") else "yyyy")
    refused(b, "join", "--token", wrong, f"{a.address}:2377", says="token")
    refused(b, "join", "--token", "rubbish", f"{a.address}:2377", says="token")
    other_ca = re.sub(r"^(GSWMTKN-1-).{4}", lambda m: m.group(1) + "0000", token)
    refused(b, "join", "--token", other_ca, f"{a.address}:2377", says="token|certificate|digest|CA")
    refused(b, "join", "--token", token, f"{b.address}:2377", says=f"{b.address}:2377: .*nobody listens there")  # user review, 23
    silent = re.sub(r"\.\d+$", ".250", b.address)
    refused(b, "join", "--token", token, silent, says=f"{silent}:2377: .*: look at the address")

    rotated = a.gswarm("join-token", "--rotate", "-q", "worker").stdout.strip()
    assert rotated != token
    refused(b, "join", "--token", token, f"{a.address}:2377", says="token")
    assert len(fresh.nodes()) == 1, "a refused join must leave nothing behind"
    assert "as a worker" in b.gswarm("join", "--token", rotated, f"{a.address}:2377").stdout
    refused(b, "join", "--token", rotated, f"{a.address}:2377", says="already")
    refused(b, "init", says="already")
    fresh.wait_nodes(2)
    assert refused(b, "node", "ls", says=["not a manager", re.escape(a.address)])


def test_expired_token(fresh, refused):
    a, b = fresh.hosts
    a.gswarm("init", "--advertise-addr", a.address)
    token = a.gswarm("join-token", "--rotate", "--ttl", "100ms", "-q", "worker").stdout.strip()
    time.sleep(0.3)  # a span of time is what is tested
    refused(b, "join", "--token", token, f"{a.address}:2377", says="expired")
    assert len(fresh.nodes()) == 1


def test_port_taken(fresh, refused):
    a = fresh.manager
    with a.popen("socat", f"TCP-LISTEN:2377,bind={a.address},fork", "/dev/null") as squatter:
        wait_for("socat listens", lambda: "2377" in a.run("ss", "-Hltn").stdout)
        refused(a, "init", "--advertise-addr", a.address, says="2377")
        squatter.kill()
    a.gswarm("init", "--advertise-addr", a.address)


def test_address_that_is_not_ours(fresh, refused):
    refused(fresh.manager, "init", "--advertise-addr", "203.0.113.9", says="203.0.113.9")
    refused(fresh.manager, "init", "--advertise-addr", "nonsense", says="nonsense")
    assert "inactive" in fresh.manager.gswarm("system", "info").stdout


def test_leave_and_rm(fresh, refused):
    a, b = fresh.hosts
    a.gswarm("init", "--advertise-addr", a.address)
    fresh.join(b, fresh.token("worker"))
    fresh.wait_nodes(2)
    refused(a, "node", "rm", b.name, says="-f|--force|down")
    refused(a, "node", "rm", "nobody", says="nobody")
    a.gswarm("service", "create", "--name", "vol", "--constraint", f"node.hostname=={b.name}", "--mount", "type=volume,target=/srv",
             "--update-monitor", "0s", "host", "sleep", "100000")
    done = a.gswarm("node", "update", "--availability", "drain", b.name)
    assert "vol.1" in done.stderr and "drain moves what has no volume" in done.stderr, done.stderr  # user review, 6
    assert "after a reboot" in done.stderr and "not 'gswarm leave'" in done.stderr, done.stderr  # review of volumes, 2
    left = b.gswarm("leave").stdout
    old = re.search(r"node rm (\w+)", left)
    assert "left" in left and re.search(r"vol\.1 +/\S+/volumes/\w+\n", left) and old, left  # user review, 7
    assert "does not get this data" in left, left  # review of volumes, 2
    assert "inactive" in b.gswarm("system", "info").stdout
    assert f"node {b.name} left the swarm; it ran vol.1 (its volume stays there)" in a.gswarm("events", "--since", "0", "--until", "0s").stdout
    a.gswarm("service", "rm", "--force", "-d", "vol")
    # and back again, as somebody new
    fresh.join(b, fresh.token("worker"))
    wait_for("the node that left is Down", lambda: [n["status"]["state"] for n in fresh.nodes()].count("NODE_DOWN") == 1, 15)
    refused(a, "node", "rm", b.name, says=["ambiguous", f"{old.group(1)} \\(Down\\)", "\\(Ready\\)"])
    a.gswarm("node", "rm", old.group(1))
    fresh.wait_nodes(2)
    a.gswarm("node", "rm", "--force", b.name)
    assert list(fresh.node_states()) == [a.name]


def refusals(manager):
    return [datetime.fromisoformat(x.split()[0].rstrip("Z")) for x in manager.log_tail(400).splitlines() if "was removed from the cluster" in x]


def test_a_removed_node_is_told_what_to_do(fresh):
    """User review, 5: removed while it was cut off it dialled on for ever, and nothing said what to do there."""
    a, b = fresh.hosts
    a.gswarm("init", "--advertise-addr", a.address)
    fresh.join(b, fresh.token("worker"))
    fresh.wait_nodes(2)
    b.cable(False)
    wait_for("the node is Down", lambda: fresh.node_states().get(b.name) == "NODE_DOWN", 20)
    a.gswarm("node", "rm", b.name)
    b.cable(True)
    wait_for("what to do", lambda: "was removed from the cluster: run 'gswarm leave'" in b.gswarm("system", "info").stdout, 20)
    assert b.log_tail(400).count("run 'gswarm leave'") == 1  # once, not with each try
    tries = wait_for("eight tries", lambda: (x := refusals(a)) and len(x) >= 8 and x, 30)
    assert (tries[7] - tries[6]).total_seconds() > 3, tries  # from 0.1 s on they become fewer
    b.gswarm("leave")
    fresh.join(b, fresh.token("worker"))
    fresh.wait_nodes(2)


def test_manager_leaves_only_by_force(fresh, refused):
    a = fresh.manager
    a.gswarm("init", "--advertise-addr", a.address)
    refused(a, "leave", says="--force|-f")
    manager = a.manager_pid()
    a.gswarm("leave", "--force")
    wait_for("its manager is gone", lambda: not is_alive(manager), 10)
    a.gswarm("init", "--advertise-addr", a.address)


def test_node_down_and_back(fresh):
    a, b = fresh.hosts
    a.gswarm("init", "--advertise-addr", a.address)
    fresh.join(b, fresh.token("worker"))
    fresh.wait_nodes(2)
    b.cable(False)
    wait_for("the node is Down", lambda: fresh.node_states()[b.name] == "NODE_DOWN", 15)
    b.cable(True)
    fresh.wait_nodes(2, 20)


def test_manager_killed(fresh):
    """kill -9 of the manager at any moment: the worker starts it again and nothing acknowledged is lost."""
    a = fresh.manager
    a.gswarm("init", "--advertise-addr", a.address)
    token = fresh.token("worker")
    for i in range(5):
        name = a.gswarm("network", "create", f"net{i}").stdout.strip()
        kill_hard(a.manager_pid())
        wait_for("the manager answers again", lambda: a.gswarm("network", "ls", check=False).returncode == 0, 20)
        assert name in a.gswarm("network", "ls", "--no-trunc").stdout
    assert fresh.token("worker") == token
    fresh.join(fresh.hosts[1], token)
    fresh.wait_nodes(2)


GARBAGE = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 4096, b"\xff" * 70000, b"\x16\x03\x01\xff\xff" + b"A" * 66000,
           b"\x7f\xff\xff\xff\x00\x10", b""]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_on_2377(swarm, number):
    manager = swarm.manager.manager_pid()
    data = GARBAGE[number]
    # Sent from another host's network; a connection that is closed half way is the right answer.
    for _ in range(5):
        subprocess.run(swarm.hosts[1].command(["socat", "-u", "-t1", "STDIN", f"TCP:{swarm.manager.address}:2377"]),
                       input=data, timeout=20, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert swarm.manager.manager_pid() == manager
    swarm.gswarm("node", "ls")


def test_garbage_on_the_unix_sockets(swarm):
    manager, worker = swarm.manager.manager_pid(), swarm.manager.worker_pid
    for name in ("manager.sock", "worker.sock"):
        for data in GARBAGE:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(swarm.manager.path(f"/run/gswarm/{name}"))
                try:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
                except OSError:
                    pass
    assert (swarm.manager.manager_pid(), swarm.manager.worker_pid) == (manager, worker)
    swarm.gswarm("node", "ls")


def test_disk_full_under_the_manager(refused):
    """A full disk: a clear refusal, and work again once there is room; nothing acknowledged is lost."""
    from conftest import SWARMS, end_swarm  # pylint: disable=import-outside-toplevel
    from swarm import Swarm  # pylint: disable=import-outside-toplevel
    s = Swarm(f"e{os.getpid()}d", 1)
    SWARMS.append(s)
    try:
        s.bed.down()
        s.bed.up(1, start=False)
        a = s.manager
        a.run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", "/var/lib/gswarm")
        a.start_worker()
        a.gswarm("init", "--advertise-addr", a.address)
        a.gswarm("network", "create", "before")
        a.run("bash", "-c", "dd if=/dev/zero of=/var/lib/gswarm/filler bs=64k 2>/dev/null; true")
        refusal, made = None, []
        for i in range(600):  # three segments of the log are there beforehand
            done = a.gswarm("service", "create", "-d", "--name", f"s{i}", "--replicas", "0", "--env", "X=" + "x" * 100000,
                            "host", "true", check=False)
            if done.returncode:
                refusal = done.stderr.strip()
                break
            made.append(f"s{i}")
        assert refusal and refusal.startswith("gswarm: ") and "\n" not in refusal, refusal
        a.run("rm", "/var/lib/gswarm/filler")
        wait_for("writes work again", lambda: a.gswarm("network", "create", "after", check=False).returncode == 0, 40, 0.5)
        names = a.gswarm("network", "ls").stdout
        assert "before" in names and "after" in names
        for name in (made[0], made[len(made) // 2], made[-1]):
            a.gswarm("service", "inspect", name)
    finally:
        end_swarm(s)
