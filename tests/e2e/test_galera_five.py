# SPDX-License-Identifier: Apache-2.0
"""Five hosts: a cluster grows to five members and shrinks to three under load."""
from swarm import Load

HOSTS = 5


def test_grow_and_shrink_under_load(swarm):
    swarm.gswarm("network", "create", "mynet")
    swarm.galera("db", 3)
    swarm.wait_synced("db", 3, 30)
    load = Load(swarm, "db", 1)
    load.start()
    load.wait_rows(50)
    swarm.gswarm("service", "scale", "db=5", timeout=180)
    swarm.wait_synced("db", 5)
    assert {t["node"] for t in swarm.running("db").values()} == {h.name for h in swarm.hosts}
    swarm.gswarm("service", "scale", "db=3", timeout=180)
    swarm.wait_synced("db", 3)
    assert load.is_alive(), "the writer lost its connection"
    acknowledged = load.end()
    assert swarm.galera_status("db")["galera"]["epoch"] == 1
    for n in (1, 2, 3):
        rows = set(map(int, swarm.sql("db", n, "SET SESSION wsrep_sync_wait = 1; SELECT n FROM load_test.rows_").split()))
        assert acknowledged <= rows
    swarm.gswarm("service", "rm", "db", timeout=120)
