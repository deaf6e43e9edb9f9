# SPDX-License-Identifier: Apache-2.0
"""What people type wrongly: one clear line each, the right exit code, nothing changed (FINDINGS U5, U7 to U9, U11, U12)."""
import re
import subprocess
import time

import pytest

from hosts import wait_for

HOSTS = 1
NAP = ["host", "sleep", "100000"]
CREATE = ["service", "create"]
GALERA = [*CREATE, "--topology", "galera", "--network", "mynet", "-e", "MYSQL_ROOT_PASSWORD=x"]

# words, what the line says, exit code
WRONG = [
    (["node", "ls", "--format"], "--format needs a value .table\\|json", 2),
    (["node", "ls", "-f", "role=king"], "role 'king' is none of worker\\|manager", 2),
    (["service", "ls", "-f", "mode=weird"], "mode 'weird' is none of replicated\\|global", 2),
    (["service", "ps", "-f", "x=y", "web"], "one of the keys id, name, node, desired-state", 2),
    (["network", "ls", "-f", "name"], "KEY=VALUE", 2),
    (["events", "-f", "x=y"], "one of the keys type, event", 2),
    (["events", "--since", "yesterday"], "--since: 'yesterday' is no time", 2),
    (["--run-dir"], "--run-dir needs a value", 2),
    (["--run-dir="], "--run-dir needs a value", 2),
    (["service", "logs", "--tail", "-1", "web"], "--tail", 2),
    (["service", "logs", "--since", "2026-13-01", "web"], "--since", 2),
    ([*CREATE, "--hostname", "a\nb", *NAP], "--hostname: 'a.b' is none", 2),
    ([*CREATE, "--hostname", "a" * 65, *NAP], "--hostname", 2),
    ([*CREATE, "--hostname", b"\xff", *NAP], "--hostname: .* not UTF-8", 2),
    ([*CREATE, "--workdir", "rel", *NAP], "--workdir: 'rel' is no absolute path", 2),
    ([*CREATE, "--workdir", b"/\xff", *NAP], "--workdir: .* not UTF-8", 2),
    ([*CREATE, "--env", b"A=\xff", *NAP], "--env: .* not UTF-8", 2),
    ([*CREATE, "host", "echo", b"\xff"], "not UTF-8", 2),
    ([*CREATE, "--stop-grace-period", "99999h", *NAP], "99999h is above the most, 24h", 2),
    ([*CREATE, "--stop-grace-period", "0s", *NAP], "0s is below the least, 1ms", 2),
    ([*CREATE, "--limit-cpu", "0.0000001", *NAP], "below 0.01", 1),
    ([*CREATE, "--limit-memory", "9" * 20, *NAP], "too large", 2),
    ([*CREATE, "--limit-pids", "5000000", *NAP], "above the most, 4194304", 2),
    ([*CREATE, "--mount", "type=tmpfs,target=/t,tmpfs-size=1p", *NAP], "the largest is 1t", 1),
    ([*CREATE, "--mount", "type=tmpfs,target=/", *NAP], "mount target / belongs to the container", 1),
    ([*CREATE, "--mount", "type=tmpfs,target=/proc", *NAP], "mount target /proc belongs to the container", 1),
    ([*CREATE, "--mount", "type=bind,source=/srv,target=/a/../../etc", *NAP], "without '..'", 2),
    ([*CREATE, "--mount", "type=bind,source=srv,target=/a", *NAP], "source=/an/absolute/path", 2),
    ([*CREATE, "--mount", "type=tmpfs,target=/a", "--mount", "type=tmpfs,target=/a/", *NAP], "two mounts on /a$", 1),
    ([*CREATE, "--name", "a\nb", *NAP], "service name 'a.b' .* letters, digits, '_' and '-'$", 1),  # user review, 13: it said '.' too
    ([*CREATE, "--name", "a.b", *NAP], "service name 'a.b' holds a dot", 1),
    ([*CREATE, "--label", "a=b\nc", *NAP], "label 'a=b.c'", 1),
    ([*CREATE, "--user", "a b", *NAP], "user 'a b'", 1),
    ([*CREATE, "--constraint", "node.role==boss", *NAP], "a role is manager or worker", 1),
    ([*CREATE, "--constraint", "node.ip==here", *NAP], "an address or a subnet", 1),
    ([*CREATE, "-p", "80:80", "-p", "80:81", *NAP], "^gswarm: port 80/tcp is published twice", 1),  # no name that nobody gave
    ([*CREATE, "host", ""], "the command is empty", 2),
    ([*CREATE, "--update-monitor", "-1s", *NAP], "--update-monitor", 2),
    (["service", "scale", "-d", "idle=1", "idle2=x"], "idle2=x: ", 2),  # user review, 11: the first was scaled
    (["service", "scale", "-d", "idle=1", "idle=2"], "service idle is named twice", 2),
    ([*GALERA, "host", "mysqld"], "leave 'mysqld'", 1),
    ([*GALERA, "--restart-condition", "none", "host"], "must be any", 1),
    ([*GALERA, "--mount", "type=tmpfs,target=/var/lib/mysql", "host"], "must be type=volume", 1),
    (["network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.0", "n"], "is the network address", 1),
    (["network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.255", "n"], "is the broadcast address", 1),
    (["network", "create", "a\nb"], "network name 'a.b'", 1),
    (["node", "update", "--label-add", "a=b\nc", "self"], "label 'a=b.c'", 1),
    (["join-token", "boss"], "worker\\|manager", 2),
    (["init", "--dispatcher-heartbeat", "0s"], "0s is below the least, 100ms", 2),
    (["init", "--snapshot-interval", "0"], "0 is below the least, 100", 2),
    (["init", "--task-history-limit", "0"], "0 is below the least, 1", 2),
    (["init", "--cert-expiry", "1m"], "1m is below the least, 1h", 2),
    # user review, 22 to 35
    (["init", "--advertise-addr", ""], "--advertise-addr is empty", 2),
    (["join", "--token", "x", "--data-path-addr", "", "1.2.3.4"], "--data-path-addr is empty", 2),
    ([*GALERA, "--stop-signal", "KILL", "host"], "by SIGTERM only: leave --stop-signal KILL away", 1),
    ([*CREATE, "-d=maybe", *NAP], "switch: it takes no value 'maybe'", 2),
    (["help", "nothing"], "unknown command 'nothing'", 2),
    (["help", "service", "nothing"], "unknown command 'service nothing'", 2),
    (["node", "ps", ""], "argument 1 is empty", 2),
    (["service", "inspect", "--pretty", "--format", "json", "idle"], "exclude each other", 2),
    (["network", "create", "--subnet", "10.8.0.0/24", "--subnet", "10.9.0.0/24", "n"], "--subnet is given twice", 2),
    (["node", "update", "--label-rm", "nope", "self"], "node docker1\\.local has no label nope \\(it has none\\)", 1),
    (["--run-dir", "", "node", "ls"], "--run-dir needs a value", 2),
]


@pytest.fixture(scope="module")
def one(swarm):
    swarm.gswarm("network", "create", "mynet")
    return swarm


def state_of(one):
    return [one.gswarm(*words).stdout for words in (["service", "ls"], ["network", "ls"], ["node", "inspect", "self"])]


def test_wrong_words(one, refused):
    one.gswarm(*CREATE, "-d", "--name", "idle", "--replicas", "0", *NAP)
    before = state_of(one)
    bad = []
    for words, says, code in WRONG:
        try:
            refused(one.manager, *words, says=says, code=code)
        except (AssertionError, subprocess.TimeoutExpired) as e:  # one that is taken may be waited for
            bad.append(f"{words}: {str(e).splitlines()[0]}")
    assert not bad, "\n".join(bad)
    assert state_of(one) == before
    one.gswarm("service", "rm", "idle")


def test_reserved_address_pools(fresh, refused):
    """U7: such a swarm had networks on loopback or multicast addresses. User review, 24: or on the host's own network."""
    own = re.sub(r"\.\d+$", ".0/24", fresh.manager.address)
    refused(fresh.manager, "init", "--advertise-addr", fresh.manager.address, "--default-addr-pool", own,
            says=["--default-addr-pool: ", "overlaps with this host's own network on eth0"])
    for pool in ("127.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "0.0.0.0/0"):
        refused(fresh.manager, "init", "--advertise-addr", fresh.manager.address, "--default-addr-pool", pool, says="--default-addr-pool")
    refused(fresh.manager, "node", "ls", says="not part of a swarm")


def test_data_path_address(fresh, refused):
    """User review, 1: any --data-path-addr ended the worker, at init and at join. 25: a port behind a worker's address."""
    here, there = fresh.hosts
    for word, says in (("203.0.113.9", "no address of this host"), ("nothere0", "neither an address"), (f"{here.address}:9", "\\(without a port")):
        refused(here, "init", "--data-path-addr", word, says=["--data-path-addr: ", says])
    here.gswarm("init", "--advertise-addr", here.address, "--data-path-addr", here.address)
    token = here.gswarm("join-token", "-q", "worker").stdout.strip()
    join = ["join", "--token", token, here.address]
    refused(there, *join, "--data-path-addr", "nothere0", says="--data-path-addr: 'nothere0' is neither an address")
    refused(there, *join, "--advertise-addr", f"{there.address}:9", says="--advertise-addr: .* \\(without a port")
    there.gswarm(*join, "--data-path-addr", "eth0")
    fresh.wait_nodes(2)


@pytest.mark.parametrize("words", [["nosuchprog"], ["/etc"], ["sh", "-c", "sleep 0.3; exit 3"]])
def test_a_start_that_fails_again_and_again(one, words):
    """U5: waited for ever, or was called converged. 5 s of failures end the wait, and say why."""
    begin = time.monotonic()
    done = one.gswarm(*CREATE, "--name", "failing", "--update-monitor", "5s", "host", *words, check=False, timeout=40)
    assert done.returncode == 1 and "converged" not in done.stdout, done.stdout
    assert re.match(r"gswarm: service failing: failing\.1 on \S+ failed \d+ times: ", done.stderr), done.stderr
    assert time.monotonic() - begin < 30
    one.gswarm("service", "rm", "failing")


def test_wait_timeout(one):
    done = one.gswarm(*CREATE, "--name", "slow", "--wait-timeout", "500ms", "--update-monitor", "1h", *NAP, check=False, timeout=20)
    assert done.returncode == 1 and re.search(r"service slow: not converged within 0\.5 s.* it goes on in the background", done.stderr)
    assert "all run, but not yet for the 3600 s of --update-monitor" in done.stderr, done.stderr  # user review, 33
    one.wait_running("slow", 1)
    one.gswarm("service", "rm", "--force", "slow")


def test_global_without_a_node(one):
    """User review, 32: waited for ever, and no word of the constraint."""
    done = one.gswarm(*CREATE, "--name", "nowhere", "--mode", "global", "--constraint", "node.labels.rack==b", *NAP, check=False, timeout=30)
    assert done.returncode == 1 and "no node that is Ready and active meets the constraint node.labels.rack==b" in done.stderr, done.stderr
    one.gswarm("service", "rm", "nowhere")


def test_words_and_tables(one):
    """User review, 15, 22, 26 to 29, 35."""
    check = one.manager.gswarm("system", "check", check=False).stdout
    for name in ("disk space +[0-9]+ MiB free in /var/lib/gswarm", "galera +/usr/\\S+ with /usr/\\S+libgalera_smm.so", "state transfer +mariabackup"):
        assert re.search(name, check), check
    said = one.gswarm("join-token", "manager").stdout
    assert "gswarm join --token" not in said and "a join with this token is refused" in said
    assert re.search("The token is good until 20\\d\\d-", one.gswarm("join-token", "--rotate", "--ttl", "1h", "worker").stdout)
    one.gswarm("join-token", "--rotate", "worker")
    done = one.gswarm(*CREATE, "-d=true", "--name", "words", "--topology", "galera", "--network", "mynet", "-e", "MYSQL_ROOT_PASSWORD=x",
                      "--stop-grace-period", "1s", "host")
    assert "a member that has not shut down after 1 s gets KILL" in done.stderr, done.stderr
    pretty = one.gswarm("service", "inspect", "--pretty", "words").stdout
    assert "Profile:\tlan (default)" in pretty and "Virtual IPs" not in pretty
    keys = one.gswarm("service", "inspect", "words").stdout
    assert not any(f'"{key}"' in keys for key in ("next", "at_once", "force_bootstrap", "force_slot"))
    one.gswarm("service", "rm", "--force", "words")
    assert one.gswarm("help", "service", "create").stdout == one.gswarm("service", "create", "--help").stdout
    assert one.gswarm("help").stdout == one.gswarm("--help").stdout


def test_remove_by_force(one):
    """U9: a grace of hours could not be cut short. Also while it is running out already."""
    deaf = ["--stop-grace-period", "24h", "host", "sh", "-c", "trap : TERM; while :; do sleep 1; done"]
    assert "all run; now watching for 1 s" in one.gswarm(*CREATE, "--name", "deaf", "--update-monitor", "1s", *deaf).stdout  # user review, 18
    time.sleep(1)  # the handler is installed
    late = one.gswarm("service", "rm", "--wait-timeout", "1s", "deaf", check=False, timeout=20)
    assert late.returncode == 1 and "not gone within 1 s" in late.stderr
    one.gswarm("service", "rm", "--force", "--wait-timeout", "10s", "deaf", timeout=20)
    assert one.gswarm("service", "ls", "-q").stdout == ""


def test_several_targets(one):
    """Those that are there are printed, the others told, exit 1; a network tells all who use it."""
    for name in ("web10", "web2", "db"):
        one.gswarm(*CREATE, "-d", "--name", name, "--replicas", "0", "--network", "mynet", *NAP)
    done = one.gswarm("service", "inspect", "web2", "nothing", "db", check=False)
    assert done.returncode == 1 and done.stderr == "gswarm: no service nothing\n"
    assert '"web2"' in done.stdout and '"db"' in done.stdout
    assert [s["name"] for s in one.lines("service", "ls")] == ["db", "web2", "web10"]
    named = one.lines("service", "ls", "-f", "name=web2", "-f", "name=db", "-f", "mode=replicated")
    assert [s["name"] for s in named] == ["db", "web2"]
    done = one.gswarm("network", "rm", "mynet", check=False)
    assert done.returncode == 1 and all(name in done.stderr for name in ("web2", "web10", "db"))
    one.gswarm("service", "rm", "web2", "web10", "db")


def test_expired_token(one, refused):
    """U11: it was printed without a word."""
    token = one.gswarm("join-token", "--rotate", "--ttl", "1s", "-q", "worker").stdout
    assert token.startswith("GSWMTKN")
    wait_for("its end", lambda: one.gswarm("join-token", "-q", "worker", check=False).returncode == 1, 10)
    refused(one.manager, "join-token", "worker", says="expired on .* 'gswarm join-token --rotate worker'")
    one.gswarm("join-token", "--rotate", "worker")


def test_events_follow(one):
    """As Docker's: what happens from now on, until --until or Ctrl-C."""
    kept = one.lines("events")
    assert kept and one.gswarm("events", "--since", "0", "--format", "json").stdout.count("\n") == len(kept)
    begin = time.monotonic()
    assert one.manager.run(one.manager.bed.build + "/gswarm", "events", "--since", "0s", "--until", "0s").stdout == ""
    assert time.monotonic() - begin < 5


def test_what_is_on_a_dead_host_does_not_run(fresh):
    """User review, 3: `service ls` counted it, and a scale was "converged", exit 0."""
    fresh.form()
    fresh.gswarm(*CREATE, "--name", "vol", "--replicas", "2", "--replicas-max-per-node", "1",
                 "--mount", "type=volume,target=/srv", "--update-monitor", "0s", *NAP)
    fresh.hosts[1].power_off()
    wait_for("the node is Down", lambda: "NODE_DOWN" in fresh.node_states().values(), 20)
    assert " 1/2 " in fresh.gswarm("service", "ls").stdout
    done = fresh.gswarm("service", "scale", "--update-monitor", "0s", "vol=2", check=False, timeout=30)
    assert done.returncode == 1 and "converged" not in done.stdout, done.stdout
    assert re.search(r"vol\.\d: node \S+ is down; it goes on by itself when that node is back", done.stderr), done.stderr
    logs = fresh.gswarm("service", "logs", "vol")
    assert f"node {fresh.hosts[1].name} is down: try again when it is back" in logs.stderr, logs.stderr  # user review, 20


def test_a_job_that_ended_well(one):
    """User review, 10: it was waited for until --wait-timeout, and then called "not converged"."""
    done = one.gswarm(*CREATE, "--name", "job", "--restart-condition", "none", "--update-monitor", "1s", "--wait-timeout", "20s", "host", "true",
                      timeout=30)
    assert "service job complete: 1 of 1" in done.stdout, done.stdout
    one.gswarm("service", "rm", "job")
