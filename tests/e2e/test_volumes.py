# SPDX-License-Identifier: Apache-2.0
"""What removed services leave on disks: found by name, and removed by who says so (issue 6, point 3)."""
import json
import os

import pytest

from conftest import end_swarm, make_swarm
from hosts import wait_for

NAP = ["host", "sh", "-c", "date > /data/when; exec sleep 100000"]


@pytest.fixture(scope="module")
def swarm():
    s = make_swarm(2)
    yield s
    end_swarm(s)


def keeper(swarm, name, host):
    """A service that has one volume, on that host."""
    swarm.gswarm("service", "create", "--name", name, "--stop-signal", "SIGKILL", "--update-monitor", "0s", "--mount", "type=volume,target=/data",
                 "--constraint", f"node.hostname=={host.name}", *NAP)


def rows(swarm, *options):
    return [json.loads(x) for x in swarm.gswarm("volume", "ls", "--format", "json", *options).stdout.splitlines()]


def state(swarm, name):
    found = [v["state"] for v in rows(swarm, "--filter", f"name={name}")]
    return found[0] if found else None


def test_ls_and_inspect(swarm, refused):
    a, b = swarm.hosts
    keeper(swarm, "kept", b)
    table = swarm.gswarm("volume", "ls").stdout.splitlines()
    assert table[0].split() == ["VOLUME", "ID", "VOLUME", "NAME", "SERVICE", "SLOT", "NODE", "STATE"]
    assert table[1].split()[1:] == ["kept-1", "kept", "1", b.name, "in-use"]
    swarm.gswarm("service", "rm", "kept")
    wait_for("it is retired", lambda: state(swarm, "kept-1") == "retired")
    [v] = rows(swarm, "--filter", "dangling=true")
    assert (v["name"], v["service"], v["slot"], v["node"]) == ("kept-1", "kept", "1", b.name)
    assert json.loads(swarm.gswarm("volume", "inspect", "kept-1").stdout)[0]["name"] == "kept-1"
    assert "retired" in swarm.gswarm("volume", "inspect", "--pretty", "kept-1").stdout
    assert swarm.gswarm("volume", "ls", "-q", "--filter", "node=" + b.name).stdout.split() == [v["meta"]["id"][:12]]
    assert rows(swarm, "--filter", "node=" + a.name) == []
    assert swarm.gswarm("__complete", "volume", "inspect", "ke").stdout == "kept-1\n"
    refused(a, "volume", "inspect", "nothing", says="no volume nothing")
    refused(a, "volume", "ls", "--filter", "state=lost", says="unplaced", code=2)


def test_rm(swarm, refused):
    a, b = swarm.hosts
    keeper(swarm, "old", b)
    refused(a, "volume", "rm", "--discard-data", "old-1", says="used by task old.1 on node " + b.name)
    [v] = rows(swarm, "--filter", "name=old-1")
    folder = b.path("/var/lib/gswarm/worker/" + v["path"])
    swarm.gswarm("service", "rm", "old")
    wait_for("it is retired", lambda: state(swarm, "old-1") == "retired")
    refused(a, "volume", "rm", "old-1", says="--discard-data")
    refused(a, "volume", "rm", "--discard-data", v["meta"]["id"][:5], says="whole name")
    refused(a, "volume", "rm", "--discard-data", "nothing", says="no volume nothing")
    swarm.gswarm("volume", "rm", "--force", "--discard-data", "nothing")
    # somebody else's data is left alone, and it is said
    with open(folder + "/volume", encoding="ascii") as f:
        marker = f.read()
    with open(folder + "/volume", "w", encoding="ascii") as f:
        f.write("volume=another service=x slot=y\n")
    refused(a, "volume", "rm", "--discard-data", "old-1", says=["other data", b.name])
    assert os.path.exists(folder + "/data/when") and state(swarm, "old-1") == "retired"
    with open(folder + "/volume", "w", encoding="ascii") as f:
        f.write(marker)
    # its node is away, and comes back
    b.kill_worker()
    wait_for("it is down", lambda: swarm.node_states()[b.name] == "NODE_DOWN", 20)
    refused(a, "volume", "rm", "--discard-data", "old-1", says=b.name + " is down")
    # review of volumes, 3: what comes after it is tried too
    done = a.gswarm("volume", "rm", "--discard-data", "old-1", "nothing", check=False)
    assert done.returncode == 1 and b.name + " is down" in done.stderr and "no volume nothing" in done.stderr, done.stderr
    b.start_worker()
    wait_for("it is back", lambda: swarm.node_states()[b.name] == "NODE_READY", 20)
    # review of volumes, 1: its disk is not mounted
    os.rename(folder, folder + ".away")
    refused(a, "volume", "rm", "--discard-data", "old-1", says=["mount its disk", f"mkdir /var/lib/gswarm/worker/{v['path']}.removing'"])
    assert state(swarm, "old-1") == "retired"
    os.rename(folder + ".away", folder)
    assert swarm.gswarm("volume", "rm", "--discard-data", "old-1").stdout == "old-1\n"
    assert not [n for n in os.listdir(os.path.dirname(folder)) if n.startswith(v["meta"]["id"])]
    assert state(swarm, "old-1") is None
    assert "audit.volume.remove" in swarm.gswarm("events", "--since", "0", "--until", "0s").stdout
