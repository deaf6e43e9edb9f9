# SPDX-License-Identifier: Apache-2.0
"""What a member's files say after it was killed: with a binary log under many writers, inside a schema change, and with a
damaged grastate.dat on the member that holds the most. Each acknowledged row is there in the end (HEART S1, S2, L1)."""
import glob
import subprocess
import threading
import time

import pytest

from hosts import wait_for
from test_galera_faults import SLOTS, Cluster, Journal, with_stopped_member, write_file

WRITERS = 24


@pytest.fixture(scope="module")
def db(swarm, tmp_path_factory):
    """With a binary log, as the user's own file wants it; and with words that would make recovery's rules untrue (S7, S10)."""
    conf = tmp_path_factory.mktemp("conf.d")
    (conf / "binlog.cnf").write_text("[mysqld]\nlog_bin=bin\nlog_error=elsewhere.err\nwsrep_new_cluster\n"
                                     "innodb_flush_log_at_trx_commit=0\nsync_binlog=0\n", encoding="utf-8")
    conf.chmod(0o755)
    swarm.gswarm("network", "create", "mynet")
    swarm.galera("db", 3, "--mount", f"type=bind,source={conf},target=/etc/mysql/mariadb.conf.d,readonly")
    return Cluster(swarm, "db")


class Writers:
    """Many clients at one member, so that transactions are prepared and not yet committed at any moment."""

    def __init__(self, db, slot):
        self.db, self.lock, self.rows = db, threading.Lock(), []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(slot,), daemon=True) for _ in range(WRITERS)]
        for t in self.threads:
            t.start()
        wait_for("400 rows acknowledged", lambda: len(self.rows) >= 400, 60)

    def _run(self, slot):
        with self.db.client(slot, "--unbuffered", "faults", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, bufsize=1) as client:
            try:
                while not self.ending.is_set():
                    with self.lock:
                        n = self.db.next_row()
                    client.stdin.write(f"INSERT INTO journal VALUES ({n}); SELECT {n};\n")
                    client.stdin.flush()
                    if client.stdout.readline().strip() != str(n):
                        break
                    self.rows.append(n)
            except OSError:
                pass
            finally:
                client.kill()

    def end(self):
        self.ending.set()
        for t in self.threads:
            t.join(15)
        self.db.rows.extend(self.rows)


def test_s2_killed_with_a_binary_log_under_load(db):
    """InnoDB has prepared transactions then, which the server settles by its binary log: nothing is damaged."""
    assert db.sql(db.w, "SELECT @@log_bin, @@innodb_flush_log_at_trx_commit, @@sync_binlog") == "1\t1\t1"
    db.wait_whole()
    for _ in range(2):
        epoch, joins = db.galera()["epoch"], len(db.events("galera.join"))
        load = Writers(db, db.w)
        db.kill(*SLOTS)
        load.end()
        db.recover(f"all three killed under {WRITERS} writers with a binary log")
        assert db.galera()["epoch"] == epoch + 1
        new = db.events("galera.join")[joins:]
        assert not [x for x in new if "full copy" in x], new


def test_l1_all_killed_inside_a_schema_change(db):
    """A zero uuid on all three: they come back by themselves."""
    db.wait_whole()
    db.sql(db.w, "CREATE TABLE faults.wide (n BIGINT PRIMARY KEY AUTO_INCREMENT, t VARCHAR(200)); "
                 "USE faults; INSERT INTO wide (t) SELECT REPEAT('x', 200) FROM seq_1_to_60000", timeout=60)
    zero = "00000000-0000-0000-0000-000000000000"

    def states():
        text = []
        for n in SLOTS:
            with open(f"{db.datadir(n)}/grastate.dat", encoding="utf-8") as f:
                text.append(f.read())
        return text
    for n in SLOTS:  # nobody begins late because it still applies the rows
        assert db.sql(n, "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM faults.wide", timeout=60) == "60000"
    # Again and again: on a busy machine one member may be done before another begins.
    with db.client(db.w, "-e", "ALTER TABLE faults.wide ALGORITHM=COPY, FORCE;" * 100,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ddl:
        wait_for("all are inside the change", lambda: all(zero in t for t in states()), 90, 0.002)
        db.kill(*SLOTS)
        ddl.kill()
    assert all(zero in t for t in states())
    db.recover("all three killed inside a schema change")
    assert len({db.sql(n, "SELECT COUNT(*) FROM faults.wide") for n in SLOTS}) == 1


@pytest.mark.long  # a minute until it is BLOCKED
def test_s1_damaged_state_on_the_member_with_the_most(db):
    """It is no answer, so nothing is elected; the operator names it, and nothing is lost."""
    db.wait_whole()
    load, host = Journal(db, db.w).wait(), db.host[db.w]
    host.kill_worker()  # it does not look before the file is what it will be
    db.kill(*SLOTS)
    load.end()
    write_file("grastate.dat", "")(db.datadir(db.w))
    begin = time.monotonic()
    host.start_worker()
    wait_for("BLOCKED", lambda: db.phase() == "GP_BLOCKED", 100)
    assert not db.primaries()
    assert "damaged" in db.galera()["blocked_reason"]
    db.swarm.gswarm("galera", "bootstrap", "db", "--slot", str(db.w), "--force", timeout=60)
    db.recover("the damaged copy chosen", begin=begin)


def test_s1_damaged_copy_is_kept_aside(db):
    db.wait_whole()
    load = Journal(db, db.w).wait()
    _, begin = with_stopped_member(db, db.o, write_file("grastate.dat", ""))
    db.recover("a damaged copy beside a Primary", load, begin)
    kept = glob.glob(f"{db.datadir(db.o)}.quarantine-*/ibdata1")
    assert len(kept) == 1
