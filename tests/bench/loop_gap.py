# SPDX-License-Identifier: Apache-2.0
"""What keeps the daemons' loops: creates, removals, dumps and log readers on a slow disk, and the longest gap of each."""
import os
import re
import statistics
import subprocess
import threading
import time

from hosts import HostError, wait_for
from swarm import Swarm

GROUPS = "/sys/fs/cgroup/blkio"
WRITES_PER_S = 40  # of the daemons together; a synced write then takes 25 ms and more, as on a busy spinning disk
TARGET_MS = 50
GAP = re.compile(r"^== (worker|manager)|^loop since the last dump: longest gap ([0-9.]+) ms by (\S+) \(and ([0-9.]+) ms", re.M)
# A line every ten milliseconds, for as long as it lives.
CHATTY = ["perl", "-e", "$| = 1; $SIG{TERM} = sub { exit 0 }; while (1) { print 'a line of some length ' x 4, \"\\n\"; "
                        "select undef, undef, undef, 0.01 }"]


class SlowDisk:
    """Puts processes into a group whose writes are throttled. blkio counts a write where it is issued, and fsync issues
    the file's data itself, so a synced write waits here; the journal's commit is the kernel's own and does not."""

    def __init__(self, folder):
        self.folder = os.path.join(GROUPS, f"gswarm-bench-{os.getpid()}")
        device = os.stat(folder).st_dev
        self.device = f"{os.major(device)}:{os.minor(device)}"
        if not os.path.exists(os.path.join(GROUPS, "blkio.throttle.write_iops_device")):
            raise HostError("this machine has no blkio throttle (cgroup v1): nothing can make the disk slow")
        os.mkdir(self.folder)
        with open(os.path.join(self.folder, "blkio.throttle.write_iops_device"), "w", encoding="ascii") as f:
            f.write(f"{self.device} {WRITES_PER_S}")

    def add(self, pid):
        with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(pid))

    def synced_write_ms(self, folder, n=12):
        """What one synced write costs a process of the group."""
        name = os.path.join(folder, "probe")
        code = (f"import os, time\nt = []\nf = os.open({name!r}, os.O_CREAT | os.O_WRONLY)\n"
                f"open({os.path.join(self.folder, 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
                f"for i in range({n}):\n os.pwrite(f, b'x' * 4096, i * 4096)\n b = time.monotonic()\n os.fsync(f)\n"
                " t.append(time.monotonic() - b)\nprint(*t)\n")
        try:
            out = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True).stdout
        finally:
            if os.path.exists(name):
                os.unlink(name)
        return statistics.median(float(x) * 1000 for x in out.split())

    def end(self):
        try:
            with open(os.path.join(self.folder, "cgroup.procs"), encoding="ascii") as f:
                left = f.read().split()
            for pid in left:
                with open(os.path.join(GROUPS, "cgroup.procs"), "w", encoding="ascii") as f:
                    f.write(pid)
        except (OSError, ProcessLookupError):
            pass
        wait_for("the throttled group is empty", self._removed, 10)

    def _removed(self):
        try:
            os.rmdir(self.folder)
            return True
        except OSError:
            return False


class Dumps(threading.Thread):
    """Dumps each host again and again, and keeps the longest gap that was seen of each daemon."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self.hosts = hosts
        self.worst = {}  # (host, daemon): (ms, callback, ms without a core)
        self.count = 0
        self._ending = threading.Event()
        for h in hosts:
            self.look(h)
        self.worst.clear()  # what the start took is another matter

    def look(self, host):
        daemon = None
        for m in GAP.finditer(host.gswarm("system", "dump", check=False, timeout=60).stdout):
            if m.group(1):
                daemon = m.group(1)
            else:
                seen = (float(m.group(2)), m.group(3), float(m.group(4)))
                self.worst[host.short, daemon] = max(self.worst.get((host.short, daemon), (0.0, "-", 0.0)), seen)
        self.count += 1

    def run(self):
        while not self._ending.wait(0.2):
            for h in self.hosts:
                self.look(h)

    def end(self):
        self._ending.set()
        self.join(60)
        for h in self.hosts:
            self.look(h)


def load(s, n, nap):
    """n services made and removed again, four at a time, while four readers follow a log."""
    s.gswarm("service", "create", "-q", "--name", "chatty", "--replicas", "2", "host", *CHATTY, timeout=60)
    readers = [s.manager.popen("gswarm", "service", "logs", "-f", "chatty", stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL) for _ in range(4)]
    try:
        for verb in ("create", "rm"):
            names = iter(range(n))
            lock = threading.Lock()

            def work(verb=verb, names=names, lock=lock):
                while True:
                    with lock:
                        i = next(names, None)
                    if i is None:
                        return
                    if verb == "create":
                        s.gswarm("service", "create", "-q", "-d", "--name", f"s{i}", "--network", "mynet", "host", *nap,
                                 timeout=60)
                    else:
                        s.gswarm("service", "rm", f"s{i}", timeout=60)
            threads = [threading.Thread(target=work) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if verb == "create":
                wait_for("all run", lambda: sum(len(h.netns_names()) for h in s.hosts) >= n, 120, 0.5)
        s.gswarm("service", "rm", "chatty", timeout=60)
    finally:
        for r in readers:
            r.kill()
            r.wait()


def loop_gap(n, build, nap, note):
    s = Swarm("bench", 2, build).form()
    disk = None
    try:
        s.gswarm("network", "create", "mynet")
        disk = SlowDisk(s.bed.dir)
        write_ms = disk.synced_write_ms(s.bed.dir)
        for h in s.hosts:
            disk.add(h.worker_pid)
        disk.add(s.manager.manager_pid())
        dumps = Dumps(s.hosts)
        dumps.start()
        begin = time.monotonic()
        load(s, n, nap)
        took = time.monotonic() - begin
        dumps.end()
    finally:
        s.down()
        if disk:
            disk.end()
    for (host, daemon), (ms, callback, core_ms) in sorted(dumps.worst.items()):
        note(f"{daemon} of {host}: {ms:.1f} ms by {callback} (and {core_ms:.1f} ms without a core)")
    where = max(dumps.worst, key=lambda k: dumps.worst[k])
    ms, callback, _ = dumps.worst[where]
    return ms <= TARGET_MS, (f"loop-gap: {ms:.1f} ms at worst ({where[1]} of {where[0]}, {callback}), one synced write on that disk "
                             f"takes {write_ms:.0f} ms; {n} services made and removed in {took:.0f} s with {dumps.count} dumps "
                             f"and 4 log readers, n={n} (target <= {TARGET_MS} ms)")
