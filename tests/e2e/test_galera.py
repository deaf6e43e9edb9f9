# SPDX-License-Identifier: Apache-2.0
"""A Galera cluster on three hosts: created, written to, and killed in parts and whole.

No test needs another one before it: what it stands on, its fixtures make (FINDINGS D3).
"""
import re
import time

import pytest

from hosts import wait_for
from swarm import Load, PASSWORD, kill_hard


@pytest.fixture(scope="module")
def db(swarm):
    swarm.gswarm("network", "create", "mynet")
    out = swarm.galera("db", 3).stdout
    assert "converged" in out
    swarm.wait_synced("db", 3, 30)
    return swarm


@pytest.fixture(scope="module")
def shop(db):
    """A table with three rows, one written through each member."""
    db.sql("db", 1, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, word TEXT)")
    for n in (1, 2, 3):
        db.sql("db", n, f"INSERT INTO shop.t (word) VALUES ('from {n}')")
    return db


def epoch(db):
    return db.galera_status("db")["galera"]["epoch"]


def test_created_in_order_and_once(db):
    g = db.galera_status("db")["galera"]
    assert g["phase"] == "GP_HEALTHY" and g["epoch"] == 1  # the first test: nothing has been killed
    assert {t["node"] for t in db.running("db").values()} == {h.name for h in db.hosts}
    uuids = {db.status("db", n, "wsrep_cluster_state_uuid") for n in (1, 2, 3)}
    assert uuids == {g["cluster_uuid"]}
    assert "Synced" in db.gswarm("service", "ps", "db").stdout
    status = db.gswarm("galera", "status", "db").stdout
    assert status.count("Synced") == 3 and "Primary/3" in status


def test_sql_round_trip(shop):
    for n in (1, 2, 3):
        rows = shop.sql("db", n, "SET SESSION wsrep_sync_wait = 1; SELECT word FROM shop.t WHERE word LIKE 'from%' ORDER BY word").splitlines()
        assert rows == ["from 1", "from 2", "from 3"]


def donors(lines):
    """Command lines of donors among log lines: (all of them, those that sent everything)."""
    sent = [x for x in lines if re.search(r"--role '?donor", x)]
    return sent, [x for x in sent if "--bypass" not in x]


def test_killed_member_comes_back_by_ist(shop):
    db, began, since = shop, epoch(shop), str(time.time())
    old = db.running("db")
    kill_hard(old[2]["status"]["pid"])
    for i in range(20):
        db.sql("db", 1, f"INSERT INTO shop.t (word) VALUES ('meanwhile {i}')", tasks={1: old[1], 3: old[3]})
    wait_for("a new attempt", lambda: db.pids("db").get(2) not in (None, old[2]["status"]["pid"]), 30)
    new = db.wait_synced("db", 3)
    assert new[2]["meta"]["id"] == old[2]["meta"]["id"] and new[2]["addresses"] == old[2]["addresses"]
    assert db.sql("db", 2, "SET SESSION wsrep_sync_wait = 1; SELECT COUNT(*) FROM shop.t WHERE word LIKE 'meanwhile%'") == "20"
    log = db.logs("db", "--since", since)
    assert any(re.search(r"IST (received|receiver|sender)|Receiving IST", x) for x in log), "no IST in the log"
    assert not donors(log)[1], "a full state transfer was made"
    assert epoch(db) == began


def test_all_members_killed(db):
    """kill -9 of everything under load: an election, no operator, no acknowledged row lost, one Primary."""
    load, began = Load(db, "db", 1), epoch(db)
    load.start()
    load.wait_rows(200)
    old = db.running("db")
    for t in old.values():
        kill_hard(t["status"]["pid"])
    acknowledged = load.end()
    assert len(acknowledged) >= 200
    wait_for("new attempts", lambda: len(db.pids("db")) == 3 and
             not set(db.pids("db").values()) & {t["status"]["pid"] for t in old.values()}, 60, 0.2)
    db.wait_synced("db", 3)
    for n in (1, 2, 3):
        rows = set(map(int, db.sql("db", n, "SET SESSION wsrep_sync_wait = 1; SELECT n FROM load_test.rows_").split()))
        missing = acknowledged - rows
        assert not missing, f"member {n} lacks {len(missing)} acknowledged rows, e.g. {sorted(missing)[:5]}"
    g = db.galera_status("db")["galera"]
    assert g["epoch"] == began + 1 and g["phase"] == "GP_HEALTHY"
    assert len({db.status("db", n, "wsrep_cluster_state_uuid") for n in (1, 2, 3)}) == 1


def test_daemons_killed_database_runs_on(shop):
    db, before = shop, shop.pids("db")
    for h in db.hosts:
        h.kill_worker()
    kill_hard(db.manager.manager_pid() or before[1])
    for h in db.hosts:
        h.start_worker()
    wait_for("the manager answers", lambda: db.gswarm("node", "ls", check=False).returncode == 0, 20)
    db.wait_nodes(3, 20)
    assert db.pids("db") == before
    db.sql("db", 3, "INSERT INTO shop.t (word) VALUES ('after the daemons')")


def test_too_few_nodes(db, refused):
    refused(db.manager, "service", "create", "--name", "big", "--topology", "galera", "--replicas", "5", "--network", "mynet",
            "--env", f"MYSQL_ROOT_PASSWORD={PASSWORD}", "host", says=["5", "3"])
    refused(db.manager, "service", "create", "--name", "nonet", "--topology", "galera", "--replicas", "3", "--env",
            f"MYSQL_ROOT_PASSWORD={PASSWORD}", "host", says="network")
    assert [s["name"] for s in db.lines("service", "ls")] == ["db"]


def test_image_without_provider(db, tmp_path):
    """A root file system that holds no Galera provider is told as such."""
    root = tmp_path / "root"
    for d in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "var"):
        (root / d).mkdir(parents=True)
    for p in (root, tmp_path):
        p.chmod(0o755)
    done = db.gswarm("service", "create", "--name", "empty", "--topology", "galera", "--replicas", "1", "--network", "mynet",
                     "--env", f"MYSQL_ROOT_PASSWORD={PASSWORD}", f"dir:{root}", check=False, timeout=40)
    assert done.returncode == 1 and re.search("provider|mariadbd|mysqld", done.stderr), done.stdout + done.stderr
    db.gswarm("service", "rm", "empty", check=False)


def test_scale_down_and_up(shop):
    """Gracefully, one at a time: the others stay Primary and the rows stay."""
    db = shop
    count = db.sql("db", 1, "SELECT COUNT(*) FROM shop.t")
    keep = db.pids("db")
    db.gswarm("service", "scale", "db=2", timeout=120)
    db.wait_synced("db", 2)
    assert db.sql("db", 1, "SELECT COUNT(*) FROM shop.t") == count
    db.gswarm("service", "scale", "db=3", timeout=120)
    new = db.wait_synced("db", 3)
    assert {n: t["status"]["pid"] for n, t in new.items() if n < 3} == {n: p for n, p in keep.items() if n < 3}
    assert db.sql("db", 3, "SET SESSION wsrep_sync_wait = 1; SELECT COUNT(*) FROM shop.t") == count


def test_scaled_to_zero_and_back(shop):
    """The last member's data stays, and is what the cluster starts from again."""
    db = shop
    count = db.sql("db", 1, "SELECT COUNT(*) FROM shop.t")
    db.gswarm("service", "scale", "db=0", timeout=120)
    assert not db.running("db")
    db.gswarm("service", "scale", "db=1", timeout=120)
    db.wait_synced("db", 1)
    assert db.sql("db", 1, "SELECT COUNT(*) FROM shop.t") == count


def test_rm(db):
    db.gswarm("service", "rm", "db", timeout=120)
    assert not db.lines("service", "ls")
    db.gswarm("network", "rm", "mynet")
