# SPDX-License-Identifier: Apache-2.0
"""The floor: the same processes put into containers by hand, with `crun run` and nothing else.

Each has the host's root read-only, a /proc, a /dev, namespaces and a control group of its own: what the runtime itself costs.
No network is made, nothing is noted on disk and nobody watches them. All of a step run in parallel.
"""
import json
import os
import signal
import subprocess
import tempfile
import time

from hosts import run, start_time, wait_for


class Floor:
    def __init__(self, hosts, argv):
        self.hosts = hosts
        self.argv = argv
        self.up = {}  # number: (host, id)
        for h in hosts:
            self._write_bundle(h)

    def _bundle(self, h):
        return os.path.join(h.dir, "floor")

    def _write_bundle(self, h):
        root = os.path.join(self._bundle(h), "root")
        os.makedirs(root, exist_ok=True)
        h.run("mount", "--bind", "/", root)
        run(["crun", "spec"], cwd=self._bundle(h))
        path = os.path.join(self._bundle(h), "config.json")
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        config["root"] = {"path": "root", "readonly": True}
        config["process"].update({"terminal": False, "args": self.argv, "cwd": "/"})
        config["linux"]["resources"] = {}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)

    def _all(self, commands):
        with tempfile.TemporaryFile("w+") as log:  # not a pipe: what is started keeps it open
            children = [h.popen(*argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log) for h, argv in commands]
            statuses = [child.wait(60) for child in children]  # all of them, also behind one that failed
            if any(statuses):
                log.seek(0)
                raise RuntimeError(f"crun: {log.read().strip()}")

    def scale(self, count):
        """Until so many run; the time it took."""
        begin = time.monotonic()
        new = {n: (self.hosts[n % len(self.hosts)], f"floor-{os.getpid()}-{n}") for n in range(len(self.up), count)}
        self.up.update(new)
        self._all([(h, ["crun", "run", "-d", "--pid-file", os.path.join(self._bundle(h), i), "-b", self._bundle(h), i])
                   for h, i in new.values()])
        gone = [self.up.pop(n) for n in range(count, len(self.up))]
        if gone:
            self._all([(h, ["crun", "kill", i, "TERM"]) for h, i in gone])
            pids = [self._pid(h, i) for h, i in gone]
            wait_for("they end", lambda: not any(start_time(p) for p in pids), 30, 0.002)
            self._all([(h, ["crun", "delete", i]) for h, i in gone])
        return time.monotonic() - begin

    def _pid(self, h, i):
        with open(os.path.join(self._bundle(h), i), encoding="ascii") as f:
            return int(f.read())

    def kill_and_replace(self):
        """kill -9 of the first one -> it is noticed, cleaned up, and another one runs."""
        h, i = self.up.pop(0)
        pid = self._pid(h, i)
        begin = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for("it ends", lambda: start_time(pid) is None, 10, 0.002)
        h.run("crun", "delete", i)
        self._all([(h, ["crun", "run", "-d", "--pid-file", os.path.join(self._bundle(h), i), "-b", self._bundle(h), i])])
        self.up[0] = (h, i)
        return time.monotonic() - begin

    def end(self):
        for h, i in self.up.values():
            h.run("crun", "delete", "-f", i, check=False)
        self.up.clear()
        for h in self.hosts:
            h.run("umount", os.path.join(self._bundle(h), "root"), check=False)

    def round(self):
        took = {"create 3": self.scale(3), "scale 3 to 30": self.scale(30), "scale 30 to 3": self.scale(3),
                "kill to replaced": self.kill_and_replace()}
        self.scale(0)
        return took
