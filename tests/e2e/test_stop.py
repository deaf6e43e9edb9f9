# SPDX-License-Identifier: Apache-2.0
"""A database that is told to stop and takes its time, and a worker that is killed meanwhile: the server ends by itself.

The shutdown is made as slow as the test wants it: the server is held (SIGSTOP) from the moment its log says that it has begun.
"""
import os
import re
import signal
import subprocess
import time

import pytest

from hosts import wait_for
from swarm import is_alive

HOSTS = 3
GRACE = ["--stop-grace-period", "10m"]


@pytest.fixture(scope="module")
def db(swarm):
    swarm.gswarm("network", "create", "mynet")
    swarm.galera("db", 3, *GRACE)
    swarm.wait_synced("db", 3, 30)
    yield swarm
    swarm.gswarm("service", "rm", "db", check=False, timeout=60)


class Server:
    """The process of a member, its log (readable when its folder is gone, too) and its volume."""

    def __init__(self, swarm, slot):
        self.task = swarm.running("db")[slot]
        self.host, self.pid = swarm.host_of(self.task), self.task["status"]["pid"]
        folder = self.host.path(f"/var/lib/gswarm/worker/tasks/{self.task['meta']['id']}")
        self.log = open(os.path.join(folder, "log"), encoding="utf-8", errors="replace")  # pylint: disable=consider-using-with
        self.log.seek(0, os.SEEK_END)
        self.text = ""

    def says(self, words):
        self.text += self.log.read()
        return words in self.text

    def hold(self):
        """Stops it in the middle of its shutdown."""
        end = time.monotonic() + 60
        while not re.search("Normal shutdown", self.text):
            assert time.monotonic() < end, "the server was not told to stop"
            self.says("")
            time.sleep(0.001)
        os.kill(self.pid, signal.SIGSTOP)
        assert not self.says("Shutdown complete")

    def step(self):
        dump = self.host.gswarm("system", "dump", check=False).stdout
        found = re.search(rf"task {self.task['meta']['id']} .* step=(\w+)", dump)
        return found and found.group(1)


def interrupted(server):
    """The worker is killed in the middle, twice, and both times the next one waits for the server."""
    server.hold()
    try:
        for _ in range(2):
            server.host.kill_worker()
            server.host.start_worker()
            wait_for("the stop goes on", lambda: server.step() == "stopping")
            assert is_alive(server.pid)
    finally:
        if is_alive(server.pid):
            os.kill(server.pid, signal.SIGCONT)
    wait_for("the server says that it is done", lambda: server.says("Shutdown complete"), 60)


def grastate(server):
    """What is in the volume of the slot."""
    volume = server.task["volumes"][0]["volume_id"]
    with open(server.host.path(f"/var/lib/gswarm/worker/volumes/{volume}/data/grastate.dat"), encoding="utf-8") as f:
        return f.read()


def test_scaled_down_over_a_killed_worker(db):
    """Safety review (3): the next worker killed the server at once and told the managers that it had never run."""
    server = Server(db, 3)
    with db.manager.popen(os.path.join(db.bed.build, "gswarm"), "service", "scale", "db=2", stdout=subprocess.DEVNULL) as scale:
        interrupted(server)
        assert scale.wait(60) == 0
    assert int(re.search(r"seqno:\s*(-?\d+)", grastate(server)).group(1)) >= 0
    db.wait_synced("db", 2)
    db.gswarm("service", "scale", "db=3", timeout=120)
    db.wait_synced("db", 3)


def test_removed_over_a_killed_worker(db):
    server = Server(db, 1)
    with db.manager.popen(os.path.join(db.bed.build, "gswarm"), "service", "rm", "db", stdout=subprocess.DEVNULL) as rm:
        interrupted(server)
        assert rm.wait(60) == 0
    wait_for("nothing is left", lambda: not db.lines("service", "ls"), 30)
