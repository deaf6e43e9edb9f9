# SPDX-License-Identifier: Apache-2.0
"""A swarm on test hosts: what tests and benchmarks do with it, in a line each."""
import json
import os
import subprocess
import threading
import time

from hosts import HostError, Testbed, start_time, wait_for

PASSWORD = "e2e-secret"


class Swarm:
    """Hosts with one swarm on them; docker1 is its manager."""

    def __init__(self, prefix, count, build=None, subnet="192.168.56"):
        self.bed = Testbed(prefix, subnet, build)
        self.count = count
        self.env = {}

    # -- life
    def up(self):
        self.bed.down()
        self.bed.up(self.count)
        return self

    def form(self):
        """init on docker1, the others join as workers."""
        self.up()
        self.manager.gswarm("init", "--advertise-addr", self.manager.address)
        token = self.token("worker")
        for h in self.hosts[1:]:
            self.join(h, token)
        self.wait_nodes(self.count)
        return self

    def join(self, host, token, check=True):
        return host.gswarm("join", "--token", token, f"{self.manager.address}:2377", check=check)

    def down(self):
        self.bed.down()

    @property
    def hosts(self):
        return self.bed.hosts

    @property
    def manager(self):
        return self.bed.hosts[0]

    # -- questions
    def gswarm(self, *argv, **kw):
        return self.manager.gswarm(*argv, **kw)

    def lines(self, *argv):
        """The objects that --format json prints, one a line."""
        return [json.loads(line) for line in self.gswarm(*argv, "--format", "json").stdout.splitlines()]

    def token(self, role):
        return self.gswarm("join-token", "-q", role).stdout.strip()

    def nodes(self):
        return self.lines("node", "ls")

    def node_states(self):
        return {n["description"]["hostname"]: n["status"]["state"] for n in self.nodes()}

    def wait_nodes(self, count, timeout=15):
        wait_for(f"{count} nodes Ready", lambda: list(self.node_states().values()).count("NODE_READY") == count, timeout)

    def detail(self, service):
        return json.loads(self.gswarm("service", "inspect", service).stdout)[0]

    def tasks(self, service, running=True):
        """Tasks that should run, by slot number (running=False: all tasks, in a list)."""
        rows = self.lines("service", "ps", service)
        if not running:
            return rows
        return {t["slot_number"]: t for t in rows if t["desired"] == "TASK_RUNNING"}

    def running(self, service):
        return {n: t for n, t in self.tasks(service).items() if t.get("status", {}).get("state") == "TASK_RUNNING"}

    def pids(self, service):
        return {n: t["status"]["pid"] for n, t in self.running(service).items()}

    def host_of(self, task):
        return self.bed.host(task["node"])

    @staticmethod
    def address(task, network=0):
        return task["addresses"][network]["addr"].split("/")[0]

    def wait_running(self, service, count, timeout=30):
        return wait_for(f"{count} tasks of {service} running",
                        lambda: (lambda r: r if len(r) == count else None)(self.running(service)), timeout)

    def logs(self, service, *options):
        done = self.gswarm("service", "logs", *options, service, timeout=30)
        return (done.stdout + done.stderr).splitlines()

    # -- inside a task's network
    def in_task(self, task, *argv, check=True, timeout=20, **kw):
        """Run a program of the machine in the network of a running task."""
        return self.host_of(task).run("nsenter", "-t", str(task["status"]["pid"]), "--net", "--", *argv, check=check,
                                      timeout=timeout, **kw)

    # -- Galera
    def galera(self, name, replicas, *options, timeout=120):
        return self.gswarm("service", "create", "--name", name, "--topology", "galera", "--replicas", str(replicas),
                           "--network", "mynet", "--env", f"MYSQL_ROOT_PASSWORD={PASSWORD}", *options, "host",
                           timeout=timeout)

    def sql(self, service, slot, statement, check=True, tasks=None):
        """A statement sent from the network of some running member to the member of this slot, over the overlay."""
        tasks = tasks or self.running(service)
        others = [n for n in tasks if n != slot] or [slot]
        done = self.in_task(tasks[others[0]], "mariadb", "--no-defaults", "--connect-timeout=5", "-h",
                            self.address(tasks[slot]), "-uroot", f"-p{PASSWORD}", "-NBe", statement, check=check)
        return done.stdout.strip() if check else done

    def status(self, service, slot, variable, tasks=None):
        done = self.sql(service, slot, f"SHOW STATUS LIKE '{variable}'", check=False, tasks=tasks)
        words = done.stdout.split()
        return words[1] if done.returncode == 0 and len(words) > 1 else None

    def wait_synced(self, service, count, timeout=90):
        """Every member is Synced and sees `count` members; the running tasks."""
        def synced():
            tasks = self.running(service)
            if len(tasks) != count:
                return None
            for n in tasks:
                if self.status(service, n, "wsrep_local_state_comment", tasks) != "Synced":
                    return None
                if self.status(service, n, "wsrep_cluster_size", tasks) != str(count):
                    return None
            return tasks
        return wait_for(f"{count} members of {service} Synced", synced, timeout, 0.2)

    def galera_status(self, service):
        return self.lines("galera", "status", service)[0]

    # -- what went wrong
    def dump(self):
        parts = []
        for h in self.hosts:
            parts.append(f"######## {h.name}")
            for argv in (["gswarm", "system", "dump"], ["ip", "-br", "addr"], ["ip", "netns"], ["nft", "list", "ruleset"],
                         ["bash", "-c", "for n in $(ls /run/netns); do echo \"-- $n\"; ip -n $n -br addr; "
                                        "bridge -n $n fdb show; ip -n $n neigh; done"]):
                try:
                    done = h.run(*argv, check=False, timeout=10)
                    parts.append(f"---- {' '.join(argv)[:60]}\n{done.stdout}{done.stderr}")
                except (HostError, subprocess.SubprocessError) as e:
                    parts.append(f"---- {argv[0]}: {e}")
            parts.append(f"---- worker.log\n{h.log_tail(120)}")
        for argv in (["node", "ls"], ["service", "ls"], ["events"]):
            try:
                parts.append(f"######## gswarm {' '.join(argv)}\n{self.gswarm(*argv, check=False, timeout=10).stdout}")
            except (HostError, subprocess.SubprocessError) as e:
                parts.append(str(e))
        return "\n".join(parts)


class Load(threading.Thread):
    """Appends numbered rows through one member; `acknowledged` are those the server has committed for sure."""

    def __init__(self, swarm, service, slot):
        super().__init__(daemon=True)
        tasks = swarm.running(service)
        self.acknowledged = []
        self._ending = threading.Event()
        self._argv = ["nsenter", "-t", str(tasks[slot]["status"]["pid"]), "--net", "--", "mariadb", "--no-defaults",
                      "--connect-timeout=2", "--unbuffered", "-h", swarm.address(tasks[slot]), "-uroot", f"-p{PASSWORD}",
                      "-NB", "load_test"]
        swarm.sql(service, slot, "CREATE DATABASE IF NOT EXISTS load_test; "
                                 "CREATE TABLE IF NOT EXISTS load_test.rows_ (n BIGINT PRIMARY KEY)")

    def run(self):
        with subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, bufsize=1) as client:
            n = 0
            try:
                while not self._ending.is_set():
                    n += 1
                    client.stdin.write(f"INSERT INTO rows_ VALUES ({n}); SELECT {n};\n")
                    client.stdin.flush()
                    if client.stdout.readline().strip() != str(n):
                        break
                    self.acknowledged.append(n)
            except OSError:
                pass
            finally:
                client.kill()

    def wait_rows(self, count, timeout=20):
        wait_for(f"{count} rows acknowledged", lambda: len(self.acknowledged) >= count, timeout)

    def end(self):
        self._ending.set()
        self.join(10)
        return set(self.acknowledged)


def is_alive(pid):
    return start_time(pid) is not None


def kill_hard(pid):
    os.kill(pid, 9)
    wait_for(f"process {pid} ends", lambda: not is_alive(pid), 10, 0.01)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def timed(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin
