"""What every end-to-end test stands on: real programs started on free ports in a temporary folder,
stopped by their own process id, and questions asked with the real CLI.

Nothing here sleeps for a fixed time: wait_for() asks again until a condition holds, and fails with
what it saw when it does not.
"""

import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = os.environ.get("PROFLEET_BIN", "build/dev/bin")
SOURCE = os.environ.get("PROFLEET_SOURCE", os.getcwd())
SKIPPED = 77


def skip(reason):
    print("skipped: " + reason)
    sys.exit(SKIPPED)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def wait_for(what, condition, seconds=60):
    """Returns the first true value of condition(); raises when there is none in time."""
    end = time.monotonic() + seconds
    seen = None
    while time.monotonic() < end:
        seen = condition()
        if seen:
            return seen
        select.select([], [], [], 0.05)
    raise AssertionError(f"waited {seconds} s for: {what}; last seen: {seen!r}")


class Program:
    """A program of ours that says when it is ready."""

    def __init__(self, fleet, name, argv, ready=True, netns=None, user=None, env=None):
        self.fleet = fleet
        self.name = name
        self.log_path = os.path.join(fleet.dir, f"{name}.{len(fleet.programs)}.log")
        self.ready_text = ""
        prefix = ["ip", "netns", "exec", netns] if netns else []
        read_fd, write_fd = os.pipe()
        os.set_inheritable(write_fd, True)
        argv = prefix + argv + (["--ready-fd", str(write_fd)] if ready else [])
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        pass_fds=[write_fd] if ready else [], preexec_fn=user,
                                        env={**os.environ, **(env or {})})
        os.close(write_fd)
        fleet.programs.append(self)
        if ready:
            self.ready_text = self.read_ready(read_fd)
        os.close(read_fd)

    def read_ready(self, fd):
        text = b""
        end = time.monotonic() + 60
        while not text.endswith(b"\n"):
            readable, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            part = os.read(fd, 4096) if readable else b""
            if not part:
                raise AssertionError(f"{self.name} did not become ready:\n{self.text()}")
            text += part
        return text.decode()

    def text(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=60):
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def pid(self):
        return self.process.pid


class Aggregator(Program):
    # While several imports fill a window nothing may be sealed: what comes for it afterwards waits ten minutes.
    FILLING = ("--seal-every", "10m")
    SEALING = ("--seal-every", "200ms")

    def __init__(self, fleet, data=None, listen="tcp://127.0.0.1:0", options=(), netns=None, env=None,
                 user=None):
        self.data = data or os.path.join(fleet.dir, "data")
        self.env = env
        super().__init__(fleet, "aggregator",
                         [f"{BIN}/profleet-aggregator", "--data", self.data, "--listen", listen,
                          "--http", "127.0.0.1:0", *options], netns=netns, env=env, user=user)
        self.address = re.search(r"tcp://\S+", self.ready_text).group(0)
        self.http = re.search(r"http://\S+", self.ready_text).group(0)

    def again(self, options=()):
        """Another one on the same folder, once this one has stopped well."""
        check(self.stop() == 0, "the aggregator stops with 0")
        return Aggregator(self.fleet, data=self.data, options=options, env=self.env)


class Agent(Program):
    def __init__(self, fleet, address, options=(), netns=None, user=None, ready=True):
        super().__init__(fleet, "agent",
                         [f"{BIN}/profleet-agent", "--aggregator", address, "--log-format", "json",
                          *options], netns=netns, user=user, ready=ready)

    def summary(self):
        """The agent's last word about what became of every sample; only after it stopped."""
        for line in reversed(self.text().splitlines()):
            if '"agent-summary"' in line:
                text = json.loads(line)["text"]
                counts = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", text)}
                # "lost: ring_full 17, spool_full 4", or "lost: none".
                lost = re.findall(r"(\w+) (\d+)", text.split("lost: ", 1)[1])
                counts.update((reason, int(count)) for reason, count in lost)
                counts["samples_lost"] = sum(int(count) for _, count in lost)
                return counts
        raise AssertionError("the agent said no agent-summary:\n" + self.text())


class Fleet:
    """A temporary folder with everything that runs in it; gone at the end of `with`."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="profleet-e2e-")
        # While it is held nobody takes the folder for left behind: see tests/lib/test.h.
        self.lock = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        self.programs = []
        self.undo = []
        return self

    def __exit__(self, kind, value, trace):
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.kill()
            program.log.close()
        for undo in reversed(self.undo):
            undo()
        if kind is not None and kind is not SystemExit:
            for program in self.programs:
                lines = program.text().splitlines()[-25:]
                print(f"--- {program.name} {program.pid()}, last lines", *lines, sep="\n", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.close(self.lock)
        return False

    def cli(self, address, *argv, status=0, text=True, stdin=None, seconds=120):
        """Runs the CLI and returns its standard output; the exit status must be the expected one."""
        done = subprocess.run([f"{BIN}/profleet", "--server", address, *argv], capture_output=True,
                              timeout=seconds, input=stdin, check=False)
        if status is not None and done.returncode != status:
            raise AssertionError(f"profleet {' '.join(argv)}: exit {done.returncode}, not {status}\n"
                                 f"{done.stdout.decode(errors='replace')}"
                                 f"{done.stderr.decode(errors='replace')}")
        self.stderr, self.status = done.stderr.decode(errors="replace"), done.returncode
        return done.stdout.decode() if text else done.stdout

    def json(self, address, *argv, **how):
        return json.loads(self.cli(address, *argv, "-o", "json", **how))

    def agents(self, address):
        """What the aggregator knows of its agents; empty (and exit status 6) before the first push."""
        return self.json(address, "agents", status=None)["agents"]

    def folded(self, address, selector, *argv, **how):
        """{stack: value} of an export; the values are in the unit of the type."""
        rows = {}
        for line in self.cli(address, "export", selector, "-o", "folded", *argv, **how).splitlines():
            stack, value = line.rsplit(" ", 1)
            rows[stack] = rows.get(stack, 0) + int(value)
        return rows


def await_rollups(fleet, address, days):
    """Every window sealed and so many days made: a plan is bound to what there is, and days are rolled up last."""

    def units_by(column):
        rows = fleet.json(address, "usage", "--by", column, "--top", "0")["rows"]
        return {row[column]: row["units"] for row in rows}

    wait_for("every window to be sealed", lambda: set(units_by("state")) == {"kept"}, 120)
    wait_for("the days to be rolled up", lambda: units_by("tier").get("1d", 0) >= days, 120)


def needs_root():
    if os.geteuid() != 0:
        skip("needs root to load eBPF programs, make namespaces and cgroups")


def open_to_all(path):
    """Whether every user gets there: a checkout below /root is nobody else's business."""
    path = os.path.abspath(path)
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


def bin_for_all(fleet):
    """The folder of programs that a test may run as another user."""
    if open_to_all(BIN):
        return BIN
    os.chmod(fleet.dir, os.stat(fleet.dir).st_mode | 0o055)
    copies = os.path.join(fleet.dir, "bin-for-all")
    if not os.path.isdir(copies):
        os.mkdir(copies)
        for name in ("profleet", "profleet-agent", "profleet-aggregator"):
            shutil.copy(os.path.join(BIN, name), copies)
    return copies


def have(program):
    return shutil.which(program) is not None


def compile_c(fleet, name, source, *flags):
    """A program for the test to profile; returns its path."""
    path = os.path.join(fleet.dir, name)
    with open(path + ".c", "w", encoding="utf-8") as file:
        file.write(source)
    # Without optimization even a leaf function sets up its frame: gcc leaves that out of small ones,
    # whatever -fno-omit-frame-pointer says. Aligned, so that equal loops take equal time.
    subprocess.run(["gcc", "-O0", "-g", "-fno-omit-frame-pointer", "-falign-functions=64", "-falign-loops=64",
                    *flags, path + ".c", "-o", path], check=True)
    return path


def write(fleet, name, data):
    """A file in the fleet's folder, of text or bytes; its path."""
    path = os.path.join(fleet.dir, name)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return path


def cpu_seconds(pid):
    """User and system time of a live process, all its threads."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(test):
    """Runs one test function with a fleet of its own."""
    with Fleet() as fleet:
        started = time.monotonic()
        test(fleet)
        print(f"ok {test.__name__} ({time.monotonic() - started:.1f} s)")
