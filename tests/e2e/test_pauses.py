# SPDX-License-Identifier: Apache-2.0
"""A pause of a daemon or of the whole machine is no failure of others (FINDINGS M2)."""
import os
import signal
import time

import pytest

from hosts import start_time, wait_for

PAUSE_S = 5  # more than the three heartbeats after which a node counts as Down
SLEEP = ["--stop-signal", "SIGKILL", "host", "sleep", "100000"]


@pytest.fixture(scope="module")
def web(swarm):
    swarm.gswarm("service", "create", "--name", "web", "--replicas", "6", *SLEEP)
    swarm.wait_running("web", 6)
    return swarm


def pause(pids):
    """All of them stand still for PAUSE_S; a span of time is what is tested."""
    pids = [p for p in pids if start_time(p)]
    for p in pids:
        os.kill(int(p), signal.SIGSTOP)
    try:
        time.sleep(PAUSE_S)
    finally:
        for p in pids:
            if start_time(p):
                os.kill(int(p), signal.SIGCONT)


def downs(s):
    return [e for e in s.lines("system", "events") if e["kind"] == "node.down"]


def task_ids(s):
    return sorted(t["meta"]["id"] for t in s.tasks("web", running=False))


def wait_all_heard(s):
    """Every worker has a session that is younger than the pause, or has kept its own; then one more grace."""
    s.wait_nodes(3)
    end = time.monotonic() + 2 * PAUSE_S
    while time.monotonic() < end:  # nothing may happen in this time
        assert not downs(s), downs(s)
        time.sleep(0.25)
    s.wait_nodes(3)


def test_M2_manager_stopped(web):
    before = task_ids(web)
    pause([web.manager.manager_pid()])
    wait_all_heard(web)
    assert task_ids(web) == before, "tasks were replaced"
    assert len(web.running("web")) == 6


def test_M2_whole_testbed_stopped(web):
    before = task_ids(web)
    pids = set()
    for h in web.hosts:
        pids |= set(h.pids(with_anchor=False))
    assert len(pids) > 10
    pause(sorted(pids))
    wait_all_heard(web)
    assert task_ids(web) == before, "tasks were replaced"
    assert len(web.running("web")) == 6


def test_M2_worker_that_is_away_is_still_found(web):
    """After a pause the manager judges as before: a host whose cable is out becomes Down."""
    b = web.hosts[1]
    pause([web.manager.manager_pid()])
    b.cable(False)
    try:
        wait_for("the node is Down", lambda: web.node_states()[b.name] == "NODE_DOWN", 20)
    finally:
        b.cable(True)
    web.wait_nodes(3, 20)
