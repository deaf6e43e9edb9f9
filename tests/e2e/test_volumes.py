# SPDX-License-Identifier: Apache-2.0
"""What removed services leave on disks: found by name (issue 6, point 3)."""
import json

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
