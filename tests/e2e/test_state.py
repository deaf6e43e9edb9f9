# SPDX-License-Identifier: Apache-2.0
"""The state folder when something is wrong with it: lost and damaged files, an init cut off at each step, two workers,
a manager that nobody wrote down. Nothing that may be a cluster's state is ever deleted by any of that."""
import json
import os
import re
import shutil

import pytest

from conftest import end_swarm, make_swarm
from hosts import HostError, all_pids, namespace_of, start_time, wait_for
from swarm import is_alive

STATE = "/var/lib/gswarm"


@pytest.fixture
def host():
    """One host with a worker that is in no swarm."""
    s = make_swarm(1, form=False)
    yield s.manager
    end_swarm(s)


def init(host):
    host.gswarm("init", "--advertise-addr", host.address)
    host.gswarm("network", "create", "keepsake")


def networks(host):
    return host.gswarm("network", "ls", "-q").stdout.split()


def managers(host):
    """All manager processes of this host."""
    want = os.path.realpath(os.path.join(host.bed.build, "gswarm-manager"))
    net, found = namespace_of(host.anchor, "net"), []
    for pid in all_pids():
        try:
            if os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)") == want and namespace_of(pid, "net") == net \
                    and start_time(pid):
                found.append(pid)
        except OSError:
            pass
    return found


def clusters(host):
    """The managers' keys that lie anywhere below the state folder: none of them may be lost."""
    found = set()
    for folder, _, names in os.walk(host.path(STATE)):
        if "manager.key" in names:
            with open(os.path.join(folder, "manager.key"), encoding="ascii") as f:
                found.add(f.read())
    return found


def serves(host):
    return host.gswarm("node", "ls", check=False).returncode == 0


def test_lost_state_file(host, refused):
    """W3: state.json is gone, the cluster is not. init and join change nothing; with the file back all is back."""
    init(host)
    before, keys = networks(host), clusters(host)
    json_file = host.path(STATE + "/worker/state.json")
    host.kill_worker()
    os.rename(json_file, json_file + ".kept")
    host.start_worker()
    for argv in (["init", "--advertise-addr", host.address], ["join", "--token", "x", "1.2.3.4"], ["leave"]):
        refused(host, *argv, says=["manager/", "leave --force|state.json"])
    assert clusters(host) == keys and os.path.isdir(host.path(STATE + "/manager/raft"))
    host.kill_worker()
    os.rename(json_file + ".kept", json_file)
    host.start_worker()
    wait_for("the manager answers", lambda: serves(host))
    assert networks(host) == before


def test_lost_state_file_set_aside(host):
    """W3: the user says that what is left may go: it is moved, and the line says where."""
    init(host)
    keys, manager = clusters(host), host.manager_pid()
    host.kill_worker()
    os.unlink(host.path(STATE + "/worker/state.json"))
    host.start_worker()
    said = host.gswarm("leave", "--force").stdout
    where = re.search(r"moved to (/\S+/aside-\S+)", said).group(1)
    assert not is_alive(manager), "its folder was moved under it"
    assert set(os.listdir(host.path(where))) == {"manager", "node.crt", "node.key", "ca.crt"}
    init(host)
    assert keys < clusters(host)


@pytest.mark.parametrize("how", ["empty", "unreadable", "damaged"])
def test_damaged_state_file(host, refused, how):
    """W3: the worker says so and refuses; nothing is guessed, nothing changed; it goes on when the file is right again."""
    init(host)
    before, keys = networks(host), clusters(host)
    json_file = host.path(STATE + "/worker/state.json")
    host.kill_worker()
    os.rename(json_file, json_file + ".kept")
    if how == "unreadable":
        os.mkdir(json_file)
    else:
        with open(json_file, "w", encoding="ascii") as f:
            f.write("" if how == "empty" else '{"cluster_id": 3}')
    host.start_worker()
    assert "state.json" in host.gswarm("system", "info").stdout
    for argv in (["init", "--advertise-addr", host.address], ["leave"]):
        refused(host, *argv, says="state.json")
    assert clusters(host) == keys
    if how == "unreadable":
        os.rmdir(json_file)
    os.rename(json_file + ".kept", json_file)
    wait_for("the worker looks again", lambda: "active" in host.gswarm("system", "info").stdout.split()[1], 10)
    wait_for("the manager answers", lambda: serves(host))
    assert networks(host) == before


def test_repeated_init(host, refused):
    init(host)
    before, keys = networks(host), clusters(host)
    refused(host, "init", "--advertise-addr", host.address, says="already")
    assert networks(host) == before and clusters(host) == keys


def test_init_that_fails_late(host, refused):
    """W3: the cluster is made, the identity cannot be written: what was made is moved aside, and a later init works."""
    os.mkdir(host.path(STATE + "/worker/node.crt.tmp"))
    said = refused(host, "init", "--advertise-addr", host.address, says="aside-")
    where = re.search(r"is in (/\S+/aside-[^\s)]+)", said).group(1)
    assert os.path.isdir(host.path(where + "/manager/raft"))
    os.rmdir(host.path(STATE + "/worker/node.crt.tmp"))
    init(host)
    assert len(clusters(host)) == 2


def killed_init(host, step):
    """An init whose worker kills itself right after the n-th change of its files; False: there are fewer."""
    host.start_worker(env={"LD_PRELOAD": os.path.join(host.bed.build, "tests/killat.so"), "KILLAT_N": str(step),
                           "KILLAT_BEGIN": "/worker/init.tmp"})
    done = host.gswarm("init", "--advertise-addr", host.address, check=False)
    cut_off = done.returncode != 0
    if cut_off:
        wait_for(f"the worker's end ({done.stderr.strip()})", lambda: not host.worker_pid)
    assert cut_off or host.worker_pid
    host.kill_worker()
    return cut_off


def test_init_killed_at_each_step(host):
    """W3: whatever an init leaves when it is cut off, the next start copes, and no key of a cluster is lost."""
    step, members = 0, 0
    host.kill_worker()
    while killed_init(host, step + 1):
        step += 1
        keys = clusters(host)
        host.start_worker()
        if "inactive" in host.gswarm("system", "info").stdout:
            wait_for("an init", lambda: host.gswarm("init", "--advertise-addr", host.address,
                                                    check=False).returncode == 0)
        else:
            members += 1
        wait_for("the manager answers", lambda: serves(host))
        assert len(managers(host)) == 1 and keys <= clusters(host), f"step {step}"
        assert host.gswarm("node", "ls", "-q").stdout.count("\n") == 1
        host.gswarm("leave", "--force")
        assert not managers(host)
        host.kill_worker()
    assert step >= 8 and 1 <= members < step, f"{step} steps, {members} of them after the identity was complete"


def test_leave_killed(host):
    """A leave that is cut off goes on at the next start: it leaves neither a manager nor a folder."""
    init(host)
    host.kill_worker()
    host.start_worker(env={"LD_PRELOAD": os.path.join(host.bed.build, "tests/killat.so"), "KILLAT_N": "2",
                           "KILLAT_BEGIN": "/worker/leave.tmp"})
    wait_for("the manager answers", lambda: serves(host))
    assert host.gswarm("leave", "--force", check=False).returncode != 0
    host.kill_worker()
    assert not os.path.exists(host.path(STATE + "/worker/state.json"))
    host.start_worker()
    wait_for("the end of the leave", lambda: not os.path.exists(host.path(STATE + "/worker/leave")))
    assert not managers(host) and not os.path.exists(host.path(STATE + "/manager"))
    init(host)


def test_two_workers(host, refused):
    """L20, W18, U10: the second worker ends with one line, and the first one's socket stays."""
    program = os.path.join(host.bed.build, "gswarm-worker")
    by_state = f"another gswarm-worker is at work here.* process {host.worker_pid}"
    for options, says in (([], by_state), (["--run-dir", "/run/other"], by_state),
                          (["--state-dir", "/var/lib/other"], "another daemon already serves")):
        done = host.run(program, *options, check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert re.search(says, done.stderr), done.stderr
    host.gswarm("system", "info")
    host.kill_worker()
    many = [host.popen(program) for _ in range(4)]
    wait_for("three of four give up", lambda: sum(p.poll() is not None for p in many) == 3)
    wait_for("one serves", lambda: host.gswarm("system", "info", check=False).returncode == 0)
    winner = next(p for p in many if p.poll() is None)
    winner.terminate()
    winner.wait(10)
    shutil.rmtree(host.path("/var/lib/other"), ignore_errors=True)
    host.start_worker()


def test_run_folder_wiped(host):
    """U13: /run/gswarm is emptied under running daemons: within seconds all is there again, and no task has ended."""
    init(host)
    host.gswarm("service", "create", "--name", "s", "host", "sleep", "9999")
    pid = json.loads(host.gswarm("service", "ps", "s", "--format", "json").stdout)["status"]["pid"]
    worker, made = host.worker_pid, host.path("/run/gswarm")
    host.run("sh", "-c", "rm -rf --one-file-system /run/gswarm/* 2>/dev/null; true")
    assert not os.path.exists(made + "/worker.sock")
    wait_for("the worker's socket", lambda: host.gswarm("system", "info", check=False).returncode == 0)
    wait_for("the manager's socket", lambda: serves(host), 20)
    assert host.worker_pid == worker and is_alive(pid)
    assert json.loads(host.gswarm("service", "ps", "s", "--format", "json").stdout)["status"]["pid"] == pid
    host.gswarm("service", "create", "--name", "other", "host", "sleep", "9999", timeout=20)
    host.gswarm("service", "rm", "s", "other")
    wait_for("the task ends", lambda: not is_alive(pid), 20)
    shutil.rmtree(made, ignore_errors=True)
    wait_for("the folder", lambda: host.gswarm("system", "info", check=False).returncode == 0)


def test_manager_that_nobody_wrote_down(host):
    """W8: killed between the manager's start and its pid file, with a socket that is gone as well: the next worker
    finds it by its lock, starts no second one, and a leave ends it before it removes its folder."""
    init(host)
    manager = host.manager_pid()
    host.kill_worker()
    os.unlink(host.path("/run/gswarm/manager.pid"))
    os.unlink(host.path("/run/gswarm/manager.sock"))
    host.start_worker()
    wait_for("the manager is found", lambda: f"pid:  {manager}" in host.gswarm("system", "info").stdout)
    assert managers(host) == [manager]
    host.kill_worker()
    os.unlink(host.path("/run/gswarm/manager.pid"))
    with open(host.path(STATE + "/worker/state.json"), encoding="utf-8") as f:
        state = json.load(f)
    state["manager"] = False
    with open(host.path(STATE + "/worker/state.json"), "w", encoding="utf-8") as f:
        json.dump(state, f)
    host.start_worker()
    host.gswarm("leave", "--force")
    assert not is_alive(manager)
    with pytest.raises(HostError):
        host.gswarm("node", "ls")
