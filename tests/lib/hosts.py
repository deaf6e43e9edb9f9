# SPDX-License-Identifier: Apache-2.0
"""Hosts made of namespaces, for the demo, the end-to-end tests and the benchmarks.

A host is a network, a mount and a UTS namespace, held by one anchor process:

    machine                      switch namespace <prefix>-sw        host namespace <prefix>-docker1
    /run/netns/<prefix>-*  ---   br0 -- p1, p2, p3 ... (veth) -----  eth0 192.168.55.111/24

with a private /run (so its own /run/netns and /run/gswarm), its own /var/lib/gswarm, /etc/hostname and /etc/hosts, and a
/sys of its network. Several testbeds live side by side: a prefix names one, and no packet leaves its switch.

`down` finds what belongs to a testbed by namespace and control group, never by a program's name, and works whatever
state an interrupted run has left.
"""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

STATE_ROOT = os.environ.get("GSWARM_TESTBED_DIR", "/var/tmp/gswarm-testbed")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIRST_ADDRESS = 111
SHARED = "/var/lib/gswarm"  # one folder of the machine; every host mounts its own over it, in its own mount namespace
CGROUP_ROOT = "/sys/fs/cgroup"

# Runs inside the new namespaces as root; $D is the host's folder, $NAME its name. It ends as the anchor.
SETUP = r"""
set -e
mkdir -p "$D/cg"
mount --rbind /sys/fs/cgroup "$D/cg"
umount -l /sys
mount -t sysfs sysfs /sys
mount --move "$D/cg" /sys/fs/cgroup
rmdir "$D/cg"
# crun refuses the v1/v2 hybrid layout: here only the v1 trees are left.
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/gswarm /run/lock
mount --bind "$D/lib" /var/lib/gswarm
mount --bind "$D/hostname" /etc/hostname
mount --bind "$D/hosts" /etc/hosts
hostname "$NAME"
touch "$D/ready"
exec sleep infinity
"""


@contextlib.contextmanager
def shared_lock():
    """Only one testbed at a time makes, mounts over or removes what all testbeds of the machine share."""
    os.makedirs("/run/lock", exist_ok=True)
    with open("/run/lock/gswarm-testbed", "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def mounted_anywhere(path):
    """Whether a process of this machine has something mounted there: rmdir would detach it in every namespace."""
    seen = set()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace in seen:
                continue
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as f:
                if any(line.split()[4] == path for line in f):
                    return True
            seen.add(namespace)
        except OSError:  # the process has ended
            continue
    return False


class HostError(Exception):
    """Something about the test hosts themselves, in one line."""


def run(argv, check=True, timeout=60, **kw):
    """Run a program of the machine; its output is text."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, **kw)
    if check and done.returncode:
        raise HostError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done


def wait_for(what, condition, timeout=10.0, step=0.05):
    """Wait until condition() is true and return what it gave; `what` is for the message."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise HostError(f"timed out after {timeout:g} s: {what}")
        time.sleep(step)


def start_time(pid):
    """Field 22 of /proc/PID/stat: with the pid it names a process for good. None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def namespace_of(pid, kind):
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except OSError:
        return None


def all_pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def find_build():
    """Where the programs are: $GSWARM_BUILD, or build/ in the checkout."""
    return os.environ.get("GSWARM_BUILD") or os.path.join(SOURCE, "build")


class Host:
    def __init__(self, bed, number):
        self.bed = bed
        self.number = number
        self.short = f"docker{number}"
        self.name = f"{self.short}.local"
        self.address = f"{bed.subnet}.{FIRST_ADDRESS + number - 1}"
        self.netns = f"{bed.prefix}-{self.short}"
        self.port = f"p{number}"
        self.dir = os.path.join(bed.dir, self.short)
        self.log = os.path.join(self.dir, "worker.log")
        self._worker = self._anchor_process = None

    # -- making and finding it
    def _write(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def _read(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8") as f:
                return f.read()
        except OSError:
            return ""

    def _recorded(self, name):
        """A pid file "pid starttime": the pid while that very process lives, else None."""
        words = self._read(name).split()
        if len(words) == 2 and start_time(words[0]) == int(words[1]):
            return int(words[0])
        return None

    def _record(self, name, pid):
        self._write(name, f"{pid} {start_time(pid) or 0}\n")

    @property
    def anchor(self):
        pid = self._recorded("anchor.pid")
        if not pid:
            raise HostError(f"{self.name} is not up (testbed/hosts up)")
        return pid

    @property
    def worker_pid(self):
        return self._recorded("worker.pid")

    def up(self):
        """Namespaces, cable and anchor; not the worker."""
        os.makedirs(os.path.join(self.dir, "lib"), exist_ok=True)
        self._write("hostname", self.name + "\n")
        self._write("hosts", self.bed.hosts_file())
        self._make_network()
        self._start_anchor()

    def _make_network(self):
        sw, ns = self.bed.switch, self.netns
        run(["ip", "netns", "add", ns])
        run(["ip", "-n", ns, "link", "set", "lo", "up"])
        # A machine keeps its MAC over a power cut; the others' neighbour entries stay right.
        mac = "02:00:" + ":".join(f"{int(x):02x}" for x in self.address.split("."))
        run(["ip", "-n", ns, "link", "add", "eth0", "address", mac, "type", "veth", "peer", "name", self.port, "netns", sw])
        run(["ip", "-n", sw, "link", "set", self.port, "master", "br0", "up"])
        run(["ip", "-n", ns, "addr", "add", f"{self.address}/24", "dev", "eth0"])
        run(["ip", "-n", ns, "link", "set", "eth0", "up"])

    def _start_anchor(self):
        ready = os.path.join(self.dir, "ready")
        if os.path.exists(ready):
            os.unlink(ready)
        with shared_lock(), open(os.path.join(self.dir, "anchor.log"), "w", encoding="utf-8") as log:
            os.makedirs(SHARED, exist_ok=True)
            proc = subprocess.Popen(  # pylint: disable=consider-using-with
                ["nsenter", f"--net=/run/netns/{self.netns}", "unshare", "--mount", "--uts", "--propagation", "private",
                 "bash", "-c", SETUP], env=dict(os.environ, D=self.dir, NAME=self.name), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
            self._record("anchor.pid", proc.pid)

            def done():
                if proc.poll() is not None:
                    raise HostError(f"{self.name}: " + self._read("anchor.log").strip())
                return os.path.exists(ready)
            wait_for(f"{self.name}: namespaces", done)
        self._anchor_process = proc
        self._write("namespaces", f"{namespace_of(proc.pid, 'net')} {namespace_of(proc.pid, 'mnt')}\n")

    # -- programs in it
    def command(self, argv):
        return ["nsenter", "-t", str(self.anchor), "--mount", "--uts", "--net", "--"] + list(argv)

    def environment(self):
        env = dict(os.environ)
        env["PATH"] = self.bed.build + ":" + env.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        return env

    def run(self, *argv, check=True, timeout=60, **kw):
        return run(self.command(argv), check=check, timeout=timeout, env=self.environment(), **kw)

    def popen(self, *argv, **kw):
        return subprocess.Popen(self.command(argv), env=self.environment(), text=True, **kw)

    def gswarm(self, *argv, **kw):
        return self.run(os.path.join(self.bed.build, "gswarm"), *unhurried(argv), **kw)

    def start_worker(self, *options, wait=True, env=None):
        program = os.path.join(self.bed.build, "gswarm-worker")
        if not os.access(program, os.X_OK):
            raise HostError(f"{program} is missing: build first (meson setup build && ninja -C build)")
        with open(self.log, "a", encoding="utf-8") as log:
            proc = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command([program, *options]), env=self.environment() | (env or {}), cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True)
        self._worker = proc
        self._record("worker.pid", proc.pid)
        if wait:
            self.wait_worker()

    def wait_worker(self):
        socket = f"/proc/{self.anchor}/root/run/gswarm/worker.sock"

        def answers():
            if self._worker and self._worker.poll() is not None:
                raise HostError(f"{self.name}: gswarm-worker ended with {self._worker.returncode}, see {self.log}:\n"
                                + self.log_tail(8))
            return os.path.exists(socket) and self.gswarm("system", "info", check=False).returncode == 0
        wait_for(f"{self.name}: the worker's socket", answers)

    def kill_worker(self, sig=signal.SIGKILL):
        pid = self.worker_pid
        if pid:
            os.kill(pid, sig)
            wait_for(f"{self.name}: worker {pid} ends", lambda: start_time(pid) is None, 15)
        if self._worker:
            self._worker.wait(15)
            self._worker = None

    def manager_pid(self):
        return self.daemon_pid("gswarm-manager")

    def daemon_pid(self, program):
        """The pid of one of our programs in this host, or None."""
        want = os.path.realpath(os.path.join(self.bed.build, program))
        net = namespace_of(self.anchor, "net")
        for pid in all_pids():
            try:
                exe = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
            except OSError:
                continue
            if exe == want and namespace_of(pid, "net") == net and start_time(pid):
                return pid
        return None

    def log_tail(self, lines=60):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    def path(self, path):
        """A path of this host as the machine sees it."""
        return f"/proc/{self.anchor}/root{path}"

    def netns_names(self):
        try:
            return sorted(os.listdir(self.path("/run/netns")))
        except OSError:
            return []

    # -- cable and power
    def cable(self, plugged):
        run(["ip", "-n", self.bed.switch, "link", "set", self.port, "up" if plugged else "down"])

    def namespaces(self):
        """Inodes of the network and mount namespaces that are this host's, its tasks' networks among them."""
        found = set()
        for word in self._read("namespaces").split():
            if word.isdigit():
                found.add(int(word))
        try:
            found.add(os.stat(f"/run/netns/{self.netns}").st_ino)
        except OSError:
            pass
        anchor = self._recorded("anchor.pid")
        if anchor:
            found.add(namespace_of(anchor, "mnt"))
            folder = f"/proc/{anchor}/root/run/netns"
            for name in self.netns_names():
                try:
                    found.add(os.stat(os.path.join(folder, name)).st_ino)
                except OSError:
                    pass
        found.discard(None)
        for pid in (1, os.getpid()):
            found.discard(namespace_of(pid, "net"))
            found.discard(namespace_of(pid, "mnt"))
        return found

    def node_ids(self):
        """Ids that this host's state names; only those with a control group of ours matter."""
        ids = set()
        for name in ("lib/worker/state.json", "node_ids"):
            ids.update(re.findall(r"\b[0-9a-z]{25}\b", self._read(name)))
        return ids

    def pids(self, with_anchor=True):
        """Every process of this host: in its namespaces, or in the control groups of its node."""
        spaces, ids, found = self.namespaces(), self.node_ids(), set()
        anchor = self._recorded("anchor.pid")
        for pid in all_pids():
            if namespace_of(pid, "net") in spaces or namespace_of(pid, "mnt") in spaces:
                found.add(pid)
                continue
            try:
                with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
                    groups = f.read()
            except OSError:
                continue
            if any(f"/gswarm/{i}" in groups for i in ids):
                found.add(pid)
        found.discard(os.getpid())
        if not with_anchor:
            found.discard(anchor)
        return {p for p in found if start_time(p) is not None}

    def kill_all(self, with_anchor):
        """Power off: kill -9 of everything, repeated until nothing new has appeared."""
        end = time.monotonic() + 20
        while True:
            pids = self.pids(with_anchor)
            if not pids:
                break
            for pid in pids:
                self._note_groups(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > end:
                raise HostError(f"{self.name}: processes do not end: {sorted(pids)}")
            time.sleep(0.02)
        for proc in (self._worker, getattr(self, "_anchor_process", None) if with_anchor else None):
            if proc:
                proc.wait(5)
        self._worker = None

    def _note_groups(self, pid):
        """Remember the node id of a process's control group, for the clean-up after it is gone."""
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
                ids = set(re.findall(r"/gswarm/([0-9a-z]{25})\b", f.read()))
        except OSError:
            return
        if ids - self.node_ids():
            with open(os.path.join(self.dir, "node_ids"), "a", encoding="utf-8") as f:
                f.write(" ".join(ids) + "\n")

    def power_off(self):
        """All processes killed, network and /run new, the disk stays: as after a reboot until start_worker()."""
        self.kill_all(with_anchor=True)
        remove_netns(self.netns)
        run(["ip", "-n", self.bed.switch, "link", "del", self.port], check=False)  # its other end goes with it, but later
        self._make_network()
        self._start_anchor()

    def down(self):
        if not os.path.isdir(self.dir):
            return
        self.kill_all(with_anchor=True)
        remove_netns(self.netns)
        remove_cgroups(self.node_ids())
        shutil.rmtree(self.dir, ignore_errors=True)


def remove_netns(name):
    if os.path.exists(f"/run/netns/{name}"):
        run(["ip", "netns", "del", name], check=False)


def remove_cgroups(ids):
    """gswarm/<node id> of these nodes in every hierarchy, and gswarm/ itself where it is empty."""
    roots = [CGROUP_ROOT] + [os.path.join(CGROUP_ROOT, d) for d in os.listdir(CGROUP_ROOT)]
    for root in roots:
        base = os.path.join(root, "gswarm")
        for node in ids:
            top = os.path.join(base, node)
            for folder, _, _ in os.walk(top, topdown=False):
                for _ in range(50):
                    try:
                        os.rmdir(folder)
                        break
                    except FileNotFoundError:
                        break
                    except OSError:
                        time.sleep(0.02)  # its last process is still on its way out
        try:
            os.rmdir(base)
        except OSError:
            pass


def unhurried(argv):
    """Tests look for themselves whether what runs goes on running, and want the events that there are."""
    if argv[:1] == ("service",) and argv[1:2] in (("create",), ("scale",)) and "--update-monitor" not in argv:
        return (*argv[:2], "--update-monitor", "0s", *argv[2:])
    for verb in (("events",), ("system", "events")):
        if argv[:len(verb)] == verb:
            return (*verb, "--no-follow", *argv[len(verb):])
    return argv


class Testbed:
    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, prefix="demo", subnet="192.168.55", build=None):
        if not re.fullmatch(r"[a-z0-9]{1,10}", prefix):
            raise HostError(f"prefix '{prefix}': 1 to 10 letters and digits")
        self.prefix = prefix
        self.dir = os.path.join(STATE_ROOT, prefix)
        saved = self._load()
        self.subnet = saved.get("subnet", subnet)
        self.build = os.path.realpath(build or saved.get("build") or find_build())
        self.switch = f"{prefix}-sw"
        self.hosts = [Host(self, i + 1) for i in range(saved.get("hosts", 0))]

    def _load(self):
        try:
            with open(os.path.join(self.dir, "testbed.json"), encoding="utf-8") as f:
                return json.load(f)
        except (OSError, ValueError):
            return {}

    def _save(self):
        os.makedirs(self.dir, exist_ok=True)
        with open(os.path.join(self.dir, "testbed.json"), "w", encoding="utf-8") as f:
            json.dump({"subnet": self.subnet, "build": self.build, "hosts": len(self.hosts)}, f)

    def hosts_file(self):
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        for i in range(1, 21):
            h = Host(self, i)
            lines.append(f"{h.address} {h.name} {h.short}")
        return "\n".join(lines) + "\n"

    def host(self, name):
        """By number, "docker2" or "docker2.local"."""
        for h in self.hosts:
            if name in (h.number, str(h.number), h.short, h.name):
                return h
        known = ", ".join(h.short for h in self.hosts) or "none is up"
        raise HostError(f"no host {name} ({known})")

    def up(self, count, start=True):
        """Bring up hosts until there are `count`; those that are up already stay as they are."""
        if os.geteuid():
            raise HostError("must run as root")
        if not 1 <= count <= 20:
            raise HostError(f"{count} hosts: 1 to 20 are possible")
        if not os.path.exists(f"/run/netns/{self.switch}"):
            self.down()
            self._make_switch()
        while len(self.hosts) < count:
            h = Host(self, len(self.hosts) + 1)
            self.hosts.append(h)
            self._save()  # first the record, then the deed: an interrupted run can be cleaned up
            h.up()
            if start:
                h.start_worker()
        return self.hosts[:count]

    def _make_switch(self):
        with shared_lock():
            os.makedirs(self.dir, exist_ok=True)
        self._save()
        run(["ip", "netns", "add", self.switch])
        run(["ip", "-n", self.switch, "link", "add", "br0", "type", "bridge"])
        run(["ip", "-n", self.switch, "link", "set", "br0", "up"])

    def down(self):
        """Remove everything of this prefix, also what an interrupted run has left half made."""
        leftovers = set()
        if os.path.isdir(self.dir):
            leftovers = {int(n[6:]) for n in os.listdir(self.dir) if re.fullmatch(r"docker\d+", n)}
        for number in sorted(leftovers | {h.number for h in self.hosts}):
            known = [h for h in self.hosts if h.number == number]
            (known[0] if known else Host(self, number)).down()
        for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            if name == self.switch or re.fullmatch(re.escape(self.prefix) + r"-docker\d+", name):
                remove_netns(name)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.hosts = []
        with shared_lock(), contextlib.suppress(OSError):
            os.rmdir(STATE_ROOT)  # only when empty: no other testbed
        with shared_lock(), contextlib.suppress(OSError):
            if not mounted_anywhere(SHARED):
                os.rmdir(SHARED)  # only when empty: no real node
