# SPDX-License-Identifier: Apache-2.0
"""The peer: Docker Swarm on hosts of the same kind, in the same run.

Three hosts of a testbed of its own, a dockerd on each (Debian's docker.io: it is installed when it is missing), all three
managers of one swarm with an overlay network. Containers are in a control group of their own a host, so that all of them
are found when the testbed goes, whatever state the daemons are in. Times end when the daemons' API shows the wanted state,
asked every 10 ms.
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

from hosts import CGROUP_ROOT, HostError, Testbed, all_pids, namespace_of, run, start_time, wait_for

CLIENT = "/usr/bin/docker"  # the package's own, of the daemon's version
DAEMONS = ("dockerd", "containerd", "containerd-shim")
IMAGE = "bench/nap"
HOME = "/var/lib/docker"
# Does nothing and ends at TERM at once, also as process 1.
NAP_C = """#include <signal.h>
#include <unistd.h>
static void on_term(int sig) { _exit(0); }
int main(void) { signal(SIGTERM, on_term); while (1) pause(); }
"""


class Api(http.client.HTTPConnection):
    """One daemon's, over its socket in the host's own /run."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def get(self, what, **filters):
        query = urllib.parse.quote(json.dumps({k: [v] for k, v in filters.items()}))
        self.request("GET", f"/v1.41/{what}{'' if '?' in what else '?'}filters={query}")
        answer = self.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise HostError(f"docker: {what}: {body[:200]!r}")
        return json.loads(body)


def install():
    if not (os.access("/usr/sbin/dockerd", os.X_OK) and os.access(CLIENT, os.X_OK)):
        print("  installing docker.io for the comparison", flush=True)
        # Its service must not start: only the hosts' own daemons run, and end with them.
        if shutil.which("systemctl"):
            run(["systemctl", "mask", "--now", "docker.service", "docker.socket", "containerd.service"], check=False)
        run(["apt-get", "install", "-y", "--no-install-recommends", "docker.io", "iptables"], timeout=600,
            env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))


class DockerSwarm:
    def __init__(self, prefix="bdock", subnet="192.168.57"):
        self.bed = Testbed(prefix, subnet)
        self.apis = {}

    # -- life
    def form(self):
        install()
        self.down()
        self.bed.up(3, start=False)
        for h in self.bed.hosts:
            self._start_daemon(h)
        self._load_image()
        first = self.bed.hosts[0]
        self.docker(first, "swarm", "init", "--advertise-addr", first.address)
        token = self.docker(first, "swarm", "join-token", "-q", "manager").strip()
        for h in self.bed.hosts[1:]:
            self.docker(h, "swarm", "join", "--token", token, "--advertise-addr", h.address, f"{first.address}:2377")
        self.docker(first, "network", "create", "--driver", "overlay", "mynet")
        wait_for("three nodes ready", lambda: sum(n["Status"]["State"] == "ready" for n in self.api(first).get("nodes")) == 3, 60)
        return self

    def _group(self, h):
        return f"{self.bed.prefix}-{h.short}"

    def _start_daemon(self, h):
        # Some of its network's state is not below the data root: that of the machine stays untouched.
        os.makedirs(HOME, exist_ok=True)
        h.run("mount", "-t", "tmpfs", "tmpfs", HOME)
        log = open(os.path.join(h.dir, "dockerd.log"), "w", encoding="utf-8")  # pylint: disable=consider-using-with
        # The default name server is the host's own closed port: unknown names fail at once.
        h.popen("env", "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1", "dockerd", "-H", "unix:///run/docker.sock", "--data-root",
                os.path.join(h.dir, "docker"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
                "--cgroup-parent", f"/{self._group(h)}", "--dns", h.address, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        log.close()
        wait_for(f"dockerd on {h.name}, see {log.name}", lambda: self._answers(h), 60)

    def _answers(self, h):
        try:
            return self.api(h).get("containers/json") is not None
        except (OSError, http.client.HTTPException, HostError):
            self.apis.pop(h, None)
            return False

    def _load_image(self):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(f"{d}/root/bin")
            with open(f"{d}/nap.c", "w", encoding="utf-8") as f:
                f.write(NAP_C)
            run(["gcc", "-O2", "-static", "-o", f"{d}/root/bin/nap", f"{d}/nap.c"])
            run(["tar", "-C", f"{d}/root", "-cf", f"{d}/nap.tar", "."])
            # One import, then save and load: the same image id everywhere.
            self.docker(self.bed.hosts[0], "import", f"{d}/nap.tar", IMAGE)
            self.docker(self.bed.hosts[0], "save", "-o", f"{d}/image.tar", IMAGE)
            for h in self.bed.hosts[1:]:
                self.docker(h, "load", "-i", f"{d}/image.tar")

    def down(self):
        """Daemons first, so that they start nothing again; then what is left in the containers' groups."""
        for h in self.bed.hosts:
            try:
                os.kill(int(self._read(h, "/run/docker.pid")), signal.SIGKILL)
            except (OSError, ValueError, HostError):
                pass
            self._kill_containers(h)
        self.apis.clear()
        groups = [self._group(h) for h in self.bed.hosts]
        self.bed.down()
        for group in groups:
            remove_group(group)
        with contextlib.suppress(OSError):
            os.rmdir(HOME)  # only when it is empty: nobody's

    @staticmethod
    def _read(h, path):
        with open(h.path(path), encoding="utf-8") as f:
            return f.read().strip()

    def _containers(self, h):
        top = os.path.join(CGROUP_ROOT, "freezer", self._group(h))
        pids = set()
        for folder, _, _ in os.walk(top):
            try:
                with open(os.path.join(folder, "cgroup.procs"), encoding="utf-8") as f:
                    pids.update(int(line) for line in f)
            except OSError:
                pass
        return {p for p in pids if start_time(p) is not None}

    def _kill_containers(self, h):
        def killed():
            for pid in self._containers(h):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not self._containers(h)
        wait_for(f"{h.name}: containers end", killed, 20)

    # -- use
    def docker(self, h, *argv, timeout=120):
        return h.run(CLIENT, "-H", "unix:///run/docker.sock", *argv, timeout=timeout).stdout

    def api(self, h):
        if h not in self.apis:
            self.apis[h] = Api(h.path("/run/docker.sock"))
        return self.apis[h]

    def create(self, name, replicas, *options):
        self.docker(self.bed.hosts[0], "service", "create", "-d", "--no-resolve-image", "--network", "mynet", "--endpoint-mode",
                    "dnsrr", "--name", name, "--replicas", str(replicas), *options, IMAGE, "/bin/nap")

    def running(self, name):
        tasks = self.api(self.bed.hosts[0]).get("tasks", service=name)
        return {t["ID"]: t for t in tasks if t["Status"]["State"] == "running" and t["DesiredState"] == "running"}

    def wait_running(self, name, count, but=None):
        return wait_for(f"docker: {count} tasks of {name}",
                        lambda: (lambda r: r if len(r) == count and but not in r else None)(self.running(name)), 120, 0.01)

    def wait_left(self, name, count, even_ended=False):
        """Until so many run; even_ended: until so many are not removed."""
        label, what = f"com.docker.swarm.service.name={name}", "containers/json?all=1&" if even_ended else "containers/json?"
        wait_for(f"docker: {count} containers of {name}",
                 lambda: sum(len(self.api(h).get(what, label=label)) for h in self.bed.hosts) == count, 120, 0.01)

    # -- the rounds of task-start
    def round(self):
        begin, took = time.monotonic(), {}

        def lap(what):
            nonlocal begin
            took[what] = time.monotonic() - begin
            begin = time.monotonic()
        self.create("s", 3)
        self.wait_running("s", 3)
        lap("create 3")
        self.docker(self.bed.hosts[0], "service", "scale", "-d", "s=30")
        self.wait_running("s", 30)
        lap("scale 3 to 30")
        self.docker(self.bed.hosts[0], "service", "scale", "-d", "s=3")
        self.wait_left("s", 3)
        lap("scale 30 to 3")
        old, task = sorted(self.wait_running("s", 3).items())[0]
        begin = time.monotonic()
        os.kill(task["Status"]["ContainerStatus"]["PID"], signal.SIGKILL)
        self.wait_running("s", 3, but=old)
        lap("kill to replaced")
        self.docker(self.bed.hosts[0], "service", "rm", "s")
        self.wait_left("s", 0, even_ended=True)
        return took

    def daemons(self, h):
        """Pids of the host's daemons and of its containers' shims."""
        net, found = namespace_of(h.anchor, "net"), set()
        for pid in all_pids():
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    name = f.read().strip()
            except OSError:
                continue
            if name.startswith(DAEMONS) and namespace_of(pid, "net") == net:
                found.add(pid)
        return found


def remove_group(name):
    for tree in os.listdir(CGROUP_ROOT):
        top = os.path.join(CGROUP_ROOT, tree, name)
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
