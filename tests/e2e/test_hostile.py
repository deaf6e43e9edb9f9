# SPDX-License-Identifier: Apache-2.0
"""Tasks that want out of their isolation (docs/isolation.md; FINDINGS I, W2, W7, W11, W14)."""
import json
import os
import re
import shutil
import stat

import pytest

from hosts import wait_for
from swarm import kill_hard

HOSTS = 1
ONCE = ["--restart-condition", "none", "--stop-signal", "SIGKILL"]
SLEEP = ["--stop-signal", "SIGKILL", "host", "sleep", "100000"]
REST = 90  # a task that was killed again and again rests for 30 s at most, and then has to start
OWN_FIRST, OWN_END = 0x70000000, 0x80000000  # numbers of tasks without a user (worker user.c)


def program(swarm):
    return os.path.join(swarm.bed.build, "tests", "hostile")


def image_folder(path):
    """A root file system with nothing in it but the program."""
    for name in ("etc", "tmp", "proc", "sys", "dev", "run"):
        os.makedirs(os.path.join(path, name))
    return path


def status_of(task, name):
    with open(f"/proc/{task['status']['pid']}/status", encoding="utf-8") as f:
        return re.search(rf"^{name}:\s*(.*)$", f.read(), re.M).group(1)


def uid_of(task):
    return int(status_of(task, "Uid").split()[0])


def run_folder(host, task):
    return host.path(f"/run/gswarm/tasks/{task['meta']['id']}/run")


@pytest.fixture
def host_port(swarm):
    """A port on which the host listens on 127.0.0.1, held by a program in its network."""
    host = swarm.manager
    listener = host.popen("python3", "-c", "import socket,time; s=socket.create_server(('127.0.0.1',0)); "
                          "print(s.getsockname()[1],flush=True); time.sleep(600)", stdout=-1)
    yield listener.stdout.readline().strip()
    listener.kill()
    listener.wait()


@pytest.mark.parametrize("user", ["", "0:0"], ids=["user", "root"])
@pytest.mark.parametrize("image", ["host", "dir"])
def test_I_no_way_out(swarm, host_port, tmp_path, image, user):
    """Each way that tests/lib/hostile.c knows, as an ordinary user and as root, in both kinds of image."""
    name = f"hostile{image}{'root' if user else ''}"
    options = ["--user", user] if user else []
    free = shutil.disk_usage(swarm.manager.path("/run")).free
    if image == "dir":
        folder = image_folder(str(tmp_path / "image"))
        shutil.copy(program(swarm), folder + "/hostile")
        os.chmod(str(tmp_path), 0o755)
        what = [f"dir:{folder}", "/hostile"]
        options += ["--env", "OWN_ETC=1"] if user else []
    else:
        options += ["--mount", f"type=bind,source={program(swarm)},target=/mnt/hostile,readonly"]
        what = ["host", "/mnt/hostile"]
    swarm.gswarm("service", "create", "--name", name, *ONCE, *options, "--limit-pids", "200", "--env", "MAX_PIDS=200",
                 "--env", f"HOST_PORT={host_port}", *what)
    lines = wait_for("all ways were tried", lambda: (lambda x: x if any("done" in y for y in x) else None)(swarm.logs(name)), 30)
    task = swarm.running(name)[1]
    open_ways = [x for x in lines if "OUT " in x]
    assert not open_ways, "\n".join(open_ways)
    assert sum("held " in x for x in lines) > 100  # they were tried
    assert uid_of(task) == 0 if user else OWN_FIRST <= uid_of(task) < OWN_END
    assert abs(shutil.disk_usage(swarm.manager.path("/run")).free - free) < 8 << 20
    swarm.gswarm("service", "rm", name)


def test_I_defaults(swarm):
    """Limits that nobody asked for, and those that nobody gets."""
    swarm.gswarm("service", "create", "--name", "plain", *SLEEP)
    task = swarm.wait_running("plain", 1)[1]
    with open(f"/proc/{task['status']['pid']}/cgroup", encoding="utf-8") as f:
        groups = dict(line.strip().split(":")[1:] for line in f)
    with open(f"/proc/{task['status']['pid']}/limits", encoding="utf-8") as f:
        assert re.search(r"Max locked memory\s+8388608\s+8388608", f.read())
    unified = "" in groups and "pids" not in groups
    pids = f"/sys/fs/cgroup{groups['']}/pids.max" if unified else f"/sys/fs/cgroup/pids{groups['pids']}/pids.max"
    memory = f"/sys/fs/cgroup{groups['']}/memory.max" if unified else \
        f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes"
    with open(pids, encoding="utf-8") as f:
        assert f.read().strip() == "4096"
    with open(memory, encoding="utf-8") as f:
        assert f.read().strip() == "max" or unified or int(open(memory, encoding="utf-8").read()) > 1 << 50
    assert status_of(task, "Seccomp") == "2"
    etc = os.listdir(f"/proc/{task['status']['pid']}/root/etc")
    assert "passwd" in etc and "ld.so.cache" in etc
    assert not set(etc) & {"shadow", "ssh", "apt", "cron.d", "fstab", "mysql", "systemd", "sudoers", "machine-id"}
    swarm.gswarm("service", "rm", "plain")


def test_I_each_volume_has_a_number_for_life(swarm):
    """Two services do not share a uid; it is written beside the volume's data, and what comes next reads it."""
    for name in ("one", "two"):
        swarm.gswarm("service", "create", "--name", name, "--stop-signal", "SIGKILL", "--mount", "type=volume,target=/data", "host",
                     "sh", "-c", "umask 077; cat /data/word; echo $(id -un) > /data/word; exec sleep 100000")
    one, two = swarm.wait_running("one", 1)[1], swarm.wait_running("two", 1)[1]
    assert uid_of(one) != uid_of(two)
    assert OWN_FIRST <= uid_of(one) < OWN_END
    volume = f"{swarm.manager.dir}/lib/worker/volumes/{one['volumes'][0]['volume_id']}"
    with open(f"{volume}/owner", encoding="ascii") as f:
        assert f.read().split() == [str(uid_of(one))] * 2
    assert os.stat(f"{volume}/data").st_uid == uid_of(one)
    kill_hard(one["status"]["pid"])
    wait_for("a new attempt", lambda: swarm.pids("one").get(1) not in (None, one["status"]["pid"]), 15)
    wait_for("the word of the task before", lambda: any(x.endswith("gs-task") for x in swarm.logs("one")))
    for name in ("one", "two"):
        swarm.gswarm("service", "rm", name)


def test_I_supplementary_groups(swarm, tmp_path):
    """Those of the image's own group file."""
    folder = image_folder(str(tmp_path / "image"))
    os.chmod(str(tmp_path), 0o755)
    shutil.copy(program(swarm), folder + "/hostile")
    for name, text in (("passwd", "db:x:102:105::/:/bin/sh\n"), ("group", "db:x:105:\nssl:x:7:db\n")):
        with open(f"{folder}/etc/{name}", "w", encoding="ascii") as f:
            f.write(text)
    swarm.gswarm("service", "create", "--name", "grouped", *ONCE, "--user", "db", f"dir:{folder}", "/hostile")
    task = swarm.wait_running("grouped", 1)[1]
    assert (uid_of(task), status_of(task, "Groups").split()) == (102, ["7"])
    swarm.gswarm("service", "rm", "grouped")


@pytest.mark.parametrize("image", ["/", "/var", "/var/lib/gswarm", "/var/lib/gswarm/manager", "/run"])
def test_I_image_with_our_state(swarm, image):
    """Folders above, of and in the daemon's state: none is an image, whatever the task may read of it."""
    name = "peek" + image.replace("/", "x")
    done = swarm.gswarm("service", "create", "--name", name, *ONCE, f"dir:{image}", "true", check=False, timeout=30)
    assert done.returncode == 1
    rows = swarm.tasks(name, running=False)
    assert rows[0]["status"]["state"] == "TASK_REJECTED" and "must not be in it" in rows[0]["status"]["err"]
    swarm.gswarm("service", "rm", name)


def test_I_readonly_is_so_for_mounts_inside(swarm, tmp_path):
    """A read-only bind of a folder in which something else is mounted."""
    host, folder = swarm.manager, tmp_path / "bound"
    (folder / "inside").mkdir(parents=True)
    os.chmod(str(tmp_path), 0o755)
    host.run("mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", str(folder / "inside"))
    host.kill_worker()  # the worker's copy of the mounts is older than this one
    host.start_worker()
    swarm.wait_nodes(1)
    swarm.gswarm("service", "create", "--name", "reader", *ONCE, "--mount", f"type=bind,source={folder},target=/mnt/in,readonly",
                 "host", "sh", "-c", "touch /mnt/in/a && echo OUT; touch /mnt/in/inside/a && echo OUT; echo tried; sleep 1000")
    lines = wait_for("its lines", lambda: (lambda x: x if any("tried" in y for y in x) else None)(swarm.logs("reader")))
    assert not any("OUT" in x for x in lines), lines
    swarm.gswarm("service", "rm", "reader")
    wait_for("its end", lambda: not host.run("ls", str(folder / "inside")).stdout)
    host.run("umount", str(folder / "inside"))


@pytest.mark.parametrize("target", ["/opt/gs-hostile", "/usr/gs-hostile/deep", "/bin/gs-hostile", "/etc/gs-hostile/deep"])
@pytest.mark.parametrize("kind", ["volume", "tmpfs", "file"])
def test_W7_missing_targets_are_made_in_the_task(swarm, tmp_path, target, kind):
    """A mount target that the host does not have is not made on the host; the mount works."""
    name = "w7" + target.replace("/", "") + kind
    (tmp_path / "file").write_text("x")
    os.chmod(str(tmp_path), 0o755)
    mount = {"volume": f"type=volume,target={target}", "tmpfs": f"type=tmpfs,target={target}",
             "file": f"type=bind,source={tmp_path}/file,target={target},readonly"}[kind]
    test = f"test -s {target}" if kind == "file" else f"touch {target}/x"
    made = [target, os.path.dirname(target)] if "deep" in target else [target]
    assert not any(os.path.lexists(x) for x in made)
    try:
        swarm.gswarm("service", "create", "--name", name, *ONCE, "--mount", mount, "host", "sh", "-c",
                     f"{test} && ls /usr/bin/env /etc/passwd >/dev/null && exec sleep 100000")
        swarm.wait_running(name, 1)
        assert not any(os.path.lexists(x) for x in made), "it is on the host now"
    finally:
        swarm.gswarm("service", "rm", name)
        for path in made:
            if os.path.lexists(path):
                (os.rmdir if os.path.isdir(path) else os.unlink)(path)


def test_W7_targets_that_cannot_be(swarm, tmp_path):
    """One line each, and the task is given up, not tried for ever."""
    (tmp_path / "bound").mkdir()
    bound = f"type=bind,source={tmp_path}/bound,target=/mnt/b"
    for number, (mounts, says) in enumerate({
            ("type=tmpfs,target=/run/task/x",): "container itself|the task's own",
            ("type=volume,target=/usr/bin/env",): "is a file on this host",
            (bound, "type=tmpfs,target=/mnt/b/c"): "make .*bound/c on the host first"}.items()):
        name = f"cannot{number}"
        options = [y for x in mounts for y in ("--mount", x)]
        done = swarm.gswarm("service", "create", "--name", name, *ONCE, *options, *SLEEP, check=False, timeout=30)
        assert done.returncode == 1, mounts
        assert re.search(says, done.stderr), done.stderr
        swarm.gswarm("service", "rm", name, check=False)
    assert not os.path.exists(tmp_path / "bound" / "c")


def test_W11_names_are_never_missing(swarm):
    """A task that reads /etc/hosts all the time finds all its names each time, also while other tasks come and go."""
    swarm.gswarm("network", "create", "--driver", "overlay", "names")
    swarm.gswarm("service", "create", "--name", "reader", "--stop-signal", "SIGKILL", "--network", "names", "host", "python3", "-uc",
                 "import time\nprint('begun')\nn = 0\nwhile True:\n t = open('/etc/hosts').read()\n n += 1\n"
                 " if 'localhost' not in t or ' reader.1' not in t or not t.endswith('\\n'): print('TORN', repr(t))\n"
                 " if 'churn.3' in t: print('seen')\n time.sleep(0)")
    wait_for("the reader", lambda: any("begun" in x for x in swarm.logs("reader")))
    swarm.gswarm("service", "create", "--name", "churn", "--replicas", "3", "--network", "names", *SLEEP)
    for replicas in (1, 3, 1, 3):
        swarm.gswarm("service", "scale", f"churn={replicas}")
        swarm.wait_running("churn", replicas)
    wait_for("a new name to be seen", lambda: any("seen" in x for x in swarm.logs("reader")))
    assert not any("TORN" in x for x in swarm.logs("reader"))
    for name in ("churn", "reader"):
        swarm.gswarm("service", "rm", name)


def test_W14_deep_folders_go_away(swarm):
    """A task's own folder is removed with it, however deep it is."""
    swarm.gswarm("service", "create", "--name", "digger", *ONCE, "host", "python3", "-uc",
                 "import os, time\nos.chdir('/run/task')\nfor i in range(400):\n os.mkdir('d' * 60)\n os.chdir('d' * 60)\n"
                 "print('dug')\ntime.sleep(1000)")
    wait_for("the hole", lambda: any("dug" in x for x in swarm.logs("digger")))
    task = swarm.running("digger")[1]
    folder = swarm.manager.path(f"/run/gswarm/tasks/{task['meta']['id']}")
    assert os.path.isdir(folder)
    swarm.gswarm("service", "rm", "digger")
    wait_for("its folder is gone", lambda: not os.path.exists(folder), 15)


def test_I_run_folder_is_roots(swarm):
    """The manager's user can put nothing where root looks for its own files."""
    st = os.stat(swarm.manager.path("/run/gswarm"))
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (0, 0, 0o755)
    for name in ("tasks", "exits", "crun", "etc"):
        path = swarm.manager.path(f"/run/gswarm/{name}")
        if os.path.exists(path):
            assert os.stat(path).st_uid == 0


def plant(path, how):
    if how == "fifo":
        os.mkfifo(path, 0o666)
    elif how == "link":
        os.symlink("/run/planted", path)
    else:
        os.mkdir(path, 0o777)


@pytest.mark.parametrize("how", ["fifo", "link"])
def test_W2_planted_in_the_run_folder(db, how):
    """What the server's user can plant in its folder: the worker goes on, and so does the database."""
    task = db.running("db")[1]
    for name in ("my.cnf.tmp", "tool.cnf.tmp", "my.cnf", "sst/wsrep_sst_gswarm.tmp", "mysqld.pid", "mysqld.sock"):
        path = os.path.join(run_folder(db.manager, task), name)
        if os.path.lexists(path):
            os.unlink(path)
        plant(path, how)
    kill_hard(task["status"]["pid"])
    after = db.wait_synced("db", 1)
    assert after[1]["status"]["pid"] != task["status"]["pid"]
    assert not os.path.lexists(db.manager.path("/run/planted"))


def test_W2_a_link_for_a_folder(db):
    """`ln -s /any /run/task/sst`: nothing is written behind it; without it the database comes back."""
    task = db.running("db")[1]
    host = db.manager
    path = os.path.join(run_folder(host, task), "sst")
    os.makedirs(host.path("/run/any"))
    shutil.rmtree(path)
    os.symlink("/run/any", path)
    kill_hard(task["status"]["pid"])
    wait_for("it is told", lambda: re.search(r"make \S+/sst: ", json.dumps(db.tasks("db", running=False))), REST)
    assert not os.listdir(host.path("/run/any"))
    assert host.gswarm("system", "info").returncode == 0
    os.unlink(path)
    db.wait_synced("db", 1)


def test_W2_planted_in_the_data(db):
    """A FIFO in place of a small file of the server's: the worker does not wait for its other end."""
    task = db.running("db")[1]
    data = f"{db.manager.dir}/lib/worker/volumes/{task['volumes'][0]['volume_id']}/data"
    os.unlink(f"{data}/grastate.dat")
    os.mkfifo(f"{data}/grastate.dat", 0o666)
    kill_hard(task["status"]["pid"])
    wait_for("the evidence", lambda: "no regular file" in json.dumps(db.tasks("db", running=False)), REST)
    assert db.manager.gswarm("system", "info").returncode == 0
    assert stat.S_ISFIFO(os.stat(f"{data}/grastate.dat").st_mode)


@pytest.fixture(scope="module")
def db(swarm):
    swarm.gswarm("network", "create", "--driver", "overlay", "mynet")
    swarm.galera("db", 1)
    swarm.wait_synced("db", 1)
    return swarm
