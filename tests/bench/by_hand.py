# SPDX-License-Identifier: Apache-2.0
"""The reference: a Galera cluster put together by hand on the same hosts, serially, with the server's stock settings.

A VXLAN between the hosts, a namespace for each server, mariadb-install-db on the first one, then one server after the
other, each when the one before is Synced, with rsync as the state transfer. No container, no limits.
"""
import os
import shutil
import signal
import subprocess

from hosts import wait_for

PROVIDERS = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"]
NETNS = "hand"
VNI = 77


class ByHand:
    def __init__(self, hosts):
        self.hosts = hosts
        self.servers = {}
        self.provider = next(p for p in PROVIDERS if os.path.exists(p))

    def folder(self, h):
        return os.path.join(h.dir, "hand")

    @staticmethod
    def address(h):
        return f"10.77.0.{h.number}"

    def prepare(self):
        """What an operator would have beforehand: the VXLAN, and folders."""
        for h in self.hosts:
            peers = [p.address for p in self.hosts if p is not h]
            script = ["ip link add hbr type bridge && ip link set hbr up",
                      f"ip link add hvx type vxlan id {VNI} local {h.address} dstport 4790 nolearning",
                      "ip link set hvx mtu 1450 master hbr up"]
            script += [f"bridge fdb append 00:00:00:00:00:00 dev hvx dst {p}" for p in peers]
            # Learning on the bridge, flooding to the peers: the plainest VXLAN there is.
            h.run("bash", "-ec", "\n".join(script))
            self._clean_folder(h)

    def _clean_folder(self, h):
        shutil.rmtree(self.folder(h), ignore_errors=True)
        os.makedirs(self.folder(h) + "/data")
        for d in (self.folder(h), self.folder(h) + "/data"):
            shutil.chown(d, "mysql", "mysql")

    def attach(self, h):
        h.run("bash", "-ec", f"""
            ip netns add {NETNS}
            ip link add hv type veth peer name eth0 netns {NETNS}
            ip link set hv mtu 1450 master hbr up
            ip -n {NETNS} link set lo up
            ip -n {NETNS} link set eth0 mtu 1450 up
            ip -n {NETNS} addr add {self.address(h)}/24 dev eth0""")

    def _options(self, h, peers):
        d = self.folder(h)
        return ["--no-defaults", "--user=mysql", f"--datadir={d}/data", f"--socket={d}/s", f"--pid-file={d}/pid",
                "--bind-address=0.0.0.0", "--skip-name-resolve", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2",
                "--wsrep-on=ON", f"--wsrep-provider={self.provider}", "--wsrep-cluster-name=hand",
                f"--wsrep-node-address={self.address(h)}",
                "--wsrep-cluster-address=gcomm://" + ",".join(self.address(p) for p in peers)]

    def _spawn(self, h, *more, peers):
        with open(self.folder(h) + "/log", "a", encoding="utf-8") as log:
            self.servers[h] = h.popen("ip", "netns", "exec", NETNS, "/usr/sbin/mariadbd", *self._options(h, peers), *more,
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def install(self, h):
        h.run("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={self.folder(h)}/data",
              "--auth-root-authentication-method=normal", "--skip-test-db")

    def status(self, h, name):
        done = subprocess.run(["mariadb", "--no-defaults", "-uroot", "-psecret", "-S", self.folder(h) + "/s", "-NBe",
                               f"SHOW STATUS LIKE '{name}'"], capture_output=True, text=True, check=False)
        if done.returncode:
            done = subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", self.folder(h) + "/s", "-NBe",
                                   f"SHOW STATUS LIKE '{name}'"], capture_output=True, text=True, check=False)
        words = done.stdout.split()
        return words[1] if len(words) > 1 else None

    def wait_synced(self, h, size):
        def synced():
            if self.servers[h].poll() is not None:
                with open(self.folder(h) + "/log", encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"mariadbd on {h.name} ended:\n" + "".join(log.readlines()[-15:]))
            return self.status(h, "wsrep_local_state_comment") == "Synced" and \
                self.status(h, "wsrep_cluster_size") == str(size)
        wait_for(f"{h.name} Synced by hand", synced, 120, 0.05)

    def create(self):
        for i, h in enumerate(self.hosts):
            self.attach(h)
            if i == 0:
                self.install(h)
                self._spawn(h, "--wsrep-new-cluster", peers=[])
            else:
                self._spawn(h, peers=self.hosts[:i])
            self.wait_synced(h, i + 1)
            if i == 0:
                subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", self.folder(h) + "/s", "-e",
                                "CREATE USER root@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO root@'%'; "
                                "ALTER USER root@localhost IDENTIFIED BY 'secret'"], check=True)

    def kill_and_restart(self, h):
        """kill -9 of a member, then what the distribution's unit does: recover the position, start with it."""
        peers = [p for p in self.hosts if p is not h]
        self.servers[h].send_signal(signal.SIGKILL)
        self.servers[h].wait()
        done = h.run("ip", "netns", "exec", NETNS, "/usr/sbin/mariadbd", *self._options(h, peers), "--wsrep-recover",
                     "--disable-log-error")
        found = [line.split("Recovered position:")[1].strip() for line in done.stderr.splitlines()
                 if "Recovered position:" in line]
        self._spawn(h, f"--wsrep-start-position={found[-1].split(',')[0]}", peers=peers)
        self.wait_synced(h, len(self.hosts))

    def end(self):
        """Servers and namespaces go, the VXLAN stays for the next round."""
        for h in reversed(self.hosts):
            server = self.servers.pop(h, None)
            if server:
                server.terminate()
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
            h.run("ip", "netns", "del", NETNS, check=False)
            self._clean_folder(h)
