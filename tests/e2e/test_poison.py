# SPDX-License-Identifier: Apache-2.0
"""A spec that no host can run must not end the workers, one after the other (FINDINGS W1)."""
import os
import subprocess

import pytest

from hosts import start_time

HOSTS = 3
BAD = {"workdir": ["--workdir", b"/\xff"], "hostname": ["--hostname", b"a\xc3"], "env": ["--env", b"A=\xed\xa0\x80"]}


@pytest.mark.parametrize("field", sorted(BAD))
def test_bad_text_ends_no_worker(swarm, field):
    """Refused by the manager, or rejected by the worker; other tasks run on every node, by the same workers."""
    workers = {h.name: (h.worker_pid, start_time(h.worker_pid)) for h in swarm.hosts}
    gswarm = swarm.manager.command([os.path.join(swarm.bed.build, "gswarm")])
    subprocess.run([*gswarm, "service", "create", "-d", "--name", "poison", "--replicas", "3", *BAD[field], "host", "sleep",
                    "100000"], env=swarm.manager.environment(), check=False, timeout=30)
    swarm.gswarm("service", "create", "--name", f"good-{field}", "--replicas", "3", "host", "sleep", "100000", timeout=30)
    assert {t["node"] for t in swarm.wait_running(f"good-{field}", 3).values()} == {h.name for h in swarm.hosts}
    assert workers == {h.name: (h.worker_pid, start_time(h.worker_pid)) for h in swarm.hosts}
    swarm.gswarm("service", "rm", "poison", check=False)
    swarm.gswarm("service", "rm", f"good-{field}")
