# SPDX-License-Identifier: Apache-2.0
"""A host whose address goes, comes late, or changes (FINDINGS U2, O8)."""
import re

import pytest

from conftest import end_swarm, make_swarm
from hosts import HostError, wait_for
from swarm import is_alive

TAKEN_AFTER = 10  # s, of worker/node/address.c; 2 where the host had the address before


@pytest.fixture
def pair():
    """A manager and a worker on two hosts, with a service on the second and its network."""
    s = make_swarm(2)
    yield s
    end_swarm(s)


def move(host, old, new):
    host.run("ip", "addr", "del", f"{old}/24", "dev", "eth0")
    if new:
        host.run("ip", "addr", "add", f"{new}/24", "dev", "eth0")


def told(swarm, host):
    """The address of a node as the managers know it, and whether the node is ready."""
    try:
        nodes = swarm.nodes()
    except HostError:  # the manager is about to be where its host is
        return None
    for n in nodes:
        if n["description"]["hostname"] == host.name:
            return n["description"]["advertise_ip"], n["status"]["state"]
    return None


def trouble(host):
    return next((line for line in host.gswarm("system", "info").stdout.splitlines() if line.startswith("Trouble:")), "")


def test_address_comes_late(pair):
    """At boot the worker is there before DHCP: it says what it waits for, and goes on when the address is there."""
    host = pair.hosts[1]
    host.kill_worker()
    move(host, host.address, None)
    host.start_worker()
    assert wait_for("the trouble is told", lambda: host.address in trouble(host) and trouble(host))
    host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
    wait_for("a session", lambda: "open to" in host.gswarm("system", "info").stdout, 15)
    wait_for("no trouble", lambda: not trouble(host))
    assert ":2378" in host.run("ss", "-Hltn").stdout
    pair.wait_nodes(2)


def test_leave_without_a_network(pair):
    """leave needs nobody: no address, no manager."""
    host = pair.hosts[1]
    pair.gswarm("service", "create", "--constraint", f"node.hostname=={host.name}", "--name", "s", "host", "sleep", "9999")
    pid = pair.wait_running("s", 1)[1]["status"]["pid"]
    host.kill_worker()
    move(host, host.address, None)
    host.start_worker()
    assert "left" in host.gswarm("leave", "--force", timeout=40).stdout
    assert not is_alive(pid) and "inactive" in host.gswarm("system", "info").stdout


@pytest.mark.parametrize("restarted", [False, True])
def test_worker_moves(pair, restarted):
    """The host has another address: after a while it is what the others are told, and its tasks never end."""
    host, new = pair.hosts[1], "192.168.56.201"
    pair.gswarm("network", "create", "mynet")
    pair.gswarm("service", "create", "--name", "s", "--network", "mynet", "--replicas", "2", "host", "sleep", "9999")
    tasks = pair.wait_running("s", 2)
    if restarted:
        host.kill_worker()
    move(host, host.address, new)
    if restarted:
        host.start_worker()
    wait_for("the new address is told", lambda: told(pair, host) == (new, "NODE_READY"), TAKEN_AFTER + 20)
    assert f"{new}:2378" in host.run("ss", "-Hltn").stdout and not trouble(host)
    here = next(n for n, t in tasks.items() if t["node"] == pair.manager.name)
    there = next(n for n, t in tasks.items() if n != here)
    wait_for("the tasks reach each other again",
             lambda: pair.in_task(tasks[here], "ping", "-c1", "-W1", pair.address(tasks[there]), check=False).returncode == 0)
    if not restarted:
        assert pair.pids("s") == {n: t["status"]["pid"] for n, t in tasks.items()}


def test_chosen_address_comes_back(pair):
    """What somebody has chosen is told again as soon as it is there, beside the one that stood in for it."""
    host = pair.hosts[1]
    move(host, host.address, "192.168.56.201")
    wait_for("the new address is told", lambda: told(pair, host) == ("192.168.56.201", "NODE_READY"), TAKEN_AFTER + 20)
    host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
    wait_for("the chosen address is told", lambda: told(pair, host) == (host.address, "NODE_READY"), 20)


def test_O9_narrower_link(pair):
    """A link that carries less than before, on one host: the tasks of all hosts send no more than fits."""
    pair.gswarm("network", "create", "mynet")
    pair.gswarm("service", "create", "--name", "s", "--network", "mynet", "--replicas", "2", "host", "sleep", "9999")
    tasks = pair.wait_running("s", 2)

    def mtus():
        return {re.search(r"mtu (\d+)", pair.in_task(t, "ip", "link", "show", "eth0").stdout).group(1) for t in tasks.values()}

    assert mtus() == {"1450"}
    pair.hosts[1].run("ip", "link", "set", "eth0", "mtu", "1400")
    wait_for("the tasks' links follow", lambda: mtus() == {"1350"}, 20)
    assert pair.pids("s") == {n: t["status"]["pid"] for n, t in tasks.items()}


def test_manager_moves(pair):
    """The manager's host has another address: it serves on, here and for who reaches it there."""
    host, new = pair.manager, "192.168.56.200"
    pid = host.worker_pid
    move(host, host.address, new)
    wait_for("the new address is told", lambda: told(pair, host) == (new, "NODE_READY"), TAKEN_AFTER + 20)
    assert host.worker_pid == pid
    token = pair.gswarm("join-token", "worker").stdout
    assert f"{new}:2377" in token, token
    other = pair.hosts[1]
    other.gswarm("leave", "--force", timeout=40)
    other.gswarm("join", "--token", token.split("--token ")[1].split()[0], f"{new}:2377")
