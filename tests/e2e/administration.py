"""Administration beside administration: while a backup stands still, everything that asks is answered and
policies and holds are changed; and while a change stands still, everything that asks is answered. A thread of
the aggregator is stopped, so nothing here depends on how long anything takes.

# timeout: 120 s
"""

import ctypes
import glob
import json
import os
import subprocess
import threading
import time
import urllib.request

from lib_fleet import BIN, Aggregator, check, run, skip, wait_for

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
POLICY = "name: {}\nselector: '{{service=\"{}\"}}'\ntiers: {{ detail: 30d, 10m: 60d, 1h: 400d }}\n"


class StoppedThread:
    """A thread of another process, by name, that does nothing until the end of `with`."""

    def __init__(self, pid, name):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long] * 4
        self.libc.ptrace.restype = ctypes.c_long
        for path in glob.glob(f"/proc/{pid}/task/*"):
            with open(path + "/comm", encoding="utf-8") as comm:
                if comm.read().strip() == name:
                    self.tid = int(os.path.basename(path))
                    return
        raise AssertionError(f"no thread {name}")

    def __enter__(self):
        if self.libc.ptrace(PTRACE_SEIZE, self.tid, 0, 0) < 0:
            skip("ptrace is not allowed here: " + os.strerror(ctypes.get_errno()))
        self.libc.ptrace(PTRACE_INTERRUPT, self.tid, 0, 0)
        os.waitpid(self.tid, WALL)
        return self

    def __exit__(self, kind, value, trace):
        self.libc.ptrace(PTRACE_DETACH, self.tid, 0, 0)
        return False


class Background:
    """A verb that is not waited for yet."""

    def __init__(self, address, *argv):
        self.process = subprocess.Popen([f"{BIN}/profleet", "--server", address, *argv, "-o", "json"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def is_running(self):
        return self.process.poll() is None

    def reply(self):
        out, error = self.process.communicate(timeout=60)
        check(self.process.returncode == 0, f"exit {self.process.returncode}: {error.decode()}")
        return json.loads(out)


def metric(aggregator, name):
    with urllib.request.urlopen(f"{aggregator.http}/metrics", timeout=20) as page:
        for line in page.read().decode().splitlines():
            if line.startswith(name + " "):
                return int(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def policy(fleet, name):
    path = os.path.join(fleet.dir, name + ".yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(POLICY.format(name, name))
    return path


def fill(fleet, address):
    path = os.path.join(fleet.dir, "a.folded")
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(f"main;f{i} {i + 1}\n" for i in range(50)))
    fleet.cli(address, "import", path, "--format", "folded", "--type", "cpu", "--label", "service=cart", "--at",
              str(int(time.time()) // 600 * 600 - 86400), "--duration", "10s")


def everything_that_asks_is_answered(fleet, address):
    for argv in (["retention", "list"], ["retention", "plan"], ["retention", "status"], ["usage"], ["hold", "list"],
                 ["retention", "explain", "{}"], ["audit", "--verify"], ["audit"], ["backup", "list"]):
        check(fleet.json(address, *argv)["schema_version"] == 1, argv)


def a_backup_holds_up_nothing(fleet):
    aggregator = Aggregator(fleet)
    address = aggregator.address
    fill(fleet, address)
    with StoppedThread(aggregator.pid(), "admin-copy"):
        backup = Background(address, "backup", "create", "slow")
        other = Background(address, "backup", "create", "slower")
        # Neither is taken: the thread may have been about to take one before it was stopped.
        wait_for("a backup to wait", lambda: metric(aggregator, "profleet_admin_waiting") >= 1)
        everything_that_asks_is_answered(fleet, address)
        fleet.cli(address, "retention", "set", "-f", policy(fleet, "one"), "--yes")
        fleet.cli(address, "hold", "create", "{}", "--reason", "beside", "--id", "beside")
        plan = fleet.json(address, "retention", "plan")
        fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes")
        check(fleet.json(address, "retention", "list")["policies"][0]["name"] == "one", "it is in force")
        check([hold["hold"]["id"] for hold in fleet.json(address, "hold", "list")["holds"]] == ["beside"], "held")
        check(backup.is_running() and other.is_running(), "the backups are not made yet")
    for one in (backup, other):
        check(one.reply()["created"]["files"] > 0, "made in the end")
    check(len(fleet.json(address, "backup", "list")["backups"]) == 2, "both are there")
    check(metric(aggregator, "profleet_admin_refused_total") == 0, "nobody was refused")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def a_change_holds_up_nobody_who_asks(fleet):
    aggregator = Aggregator(fleet, options=["--retention-every", "200ms"])
    address = aggregator.address
    fill(fleet, address)
    with StoppedThread(aggregator.pid(), "admin-change"):
        change = Background(address, "retention", "set", "-f", policy(fleet, "two"), "--yes")
        wait_for("the change to wait", lambda: metric(aggregator, "profleet_admin_waiting") >= 1)
        everything_that_asks_is_answered(fleet, address)
        check(fleet.json(address, "backup", "create", "beside")["created"]["files"] > 0, "a backup as well")
        check(change.is_running(), "the change is not made yet")
        check(fleet.json(address, "retention", "list")["policies"] == [], "it is not in force")
    check(change.reply()["applied"], "made in the end")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def too_many_that_wait_are_refused_and_counted(fleet):
    aggregator = Aggregator(fleet)
    address = aggregator.address
    with StoppedThread(aggregator.pid(), "admin-copy"):
        done = []

        def ask():
            result = subprocess.run([f"{BIN}/profleet", "--server", address, "backup", "delete", "none"],
                                    capture_output=True, text=True, check=False, timeout=100)
            done.append((result.returncode, result.stderr))

        threads = [threading.Thread(target=ask) for _ in range(70)]
        for thread in threads:
            thread.start()
        wait_for("refusals", lambda: metric(aggregator, "profleet_admin_refused_total") >= 4)
        wait_for("those who were refused to say so", lambda: len(done) >= 4)
        check(all(code == 5 and "busy" in text and "more requests than it can take" in text for code, text in done),
              done)
        refused = len(done)
    for thread in threads:
        thread.join(100)
    check(sum(code == 6 for code, _ in done) >= 64 and len(done) == 70 and refused <= 6, done)
    check(aggregator.stop() == 0, "the aggregator stops with 0")


if __name__ == "__main__":
    for test in (a_backup_holds_up_nothing, a_change_holds_up_nobody_who_asks,
                 too_many_that_wait_are_refused_and_counted):
        run(test)
