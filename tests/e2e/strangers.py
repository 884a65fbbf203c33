"""What an agent meets on a host that it does not know: hostile names, files and stacks, processes that come
and go in storms, code that no file holds. It goes on sampling, names what it can, and no process costs
it more than a little.

# timeout: 400 s
# holds: everything
"""

import os
import re
import subprocess

from lib_fleet import Agent, Aggregator, check, compile_c, cpu_seconds, needs_root, run, wait_for
from lib_strangers import SOURCE

HZ = 199


def build(fleet):
    return compile_c(fleet, "strangers", SOURCE, "-pthread")


class Watched:
    """One stranger under an agent with an aggregator."""

    def __init__(self, fleet, argv, comm="strangers", options=(), **how):
        self.fleet = fleet
        self.comm = comm
        self.aggregator = Aggregator(fleet, data=os.path.join(fleet.dir, f"data{len(fleet.programs)}"))
        self.agent = Agent(fleet, self.aggregator.address,
                           ["--hz", str(HZ), "--interval", "500ms", "--state-dir", fleet.dir, *options])
        self.process = subprocess.Popen(argv, **how)
        fleet.undo.append(lambda: (self.process.kill(), self.process.wait()))

    def stacks(self, selector=None):
        return self.fleet.folded(self.aggregator.address, selector or f'cpu{{comm="{self.comm}"}}', "--since", "1h",
                                 status=None)

    def wait_for_samples(self, seconds=1.0):
        return wait_for(f"{seconds} s of {self.comm}",
                        lambda: (lambda rows: rows if sum(rows.values()) >= seconds * 1e9 else None)(self.stacks()))

    def wait_for_share(self, what, least, text):
        def share():
            rows = self.stacks()
            total = sum(rows.values())
            found = sum(value for stack, value in rows.items() if re.search(text, stack))
            return rows if total >= 5e8 and found >= least * total else None
        return wait_for(f"{what} in {least:.0%} of the samples", share, 40)

    def stop(self, cpu_most=0.25):
        """Ends the stranger, then the agent; checks what it cost and that it counted everything."""
        ticks = cpu_seconds(self.agent.pid())
        with open(f"/proc/{self.agent.pid()}/stat", encoding="utf-8", errors="replace") as stat:
            began = int(stat.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        with open("/proc/uptime", encoding="ascii") as uptime:
            lived = float(uptime.read().split()[0]) - began
        self.process.kill()
        self.process.wait()
        check(self.agent.stop() == 0, "the agent stops with 0")
        summary = self.agent.summary()
        stored = sum(self.fleet.folded(self.aggregator.address, "cpu", "--from", "0", "--to", "now+1h").values())
        samples = stored // int(1e9 // HZ)
        check(summary["samples_taken"] == samples + summary["samples_lost"],
              f"every sample has its place: {summary}, stored {samples}")
        check(summary["samples_lost"] == 0, f"none is lost: {summary}")
        check(ticks - 1.0 <= cpu_most * lived, f"the agent used {ticks} s of CPU in {lived} s")
        check(self.aggregator.stop() == 0, "the aggregator stops with 0")
        print(f"   {self.comm}: {samples} samples, agent {ticks:.2f} s of CPU in {lived:.1f} s")


def names(fleet):
    watched = Watched(fleet, [build(fleet), "name"], comm="[^c]*31m.*")
    watched.stacks = lambda s=None: fleet.folded(watched.aggregator.address, 'cpu{comm=~"a.*31m.*"}', "--since", "1h",
                                                 status=None)
    watched.wait_for_samples()
    answer = fleet.cli(watched.aggregator.address, "series", 'cpu{comm=~"a.*31m.*"}', "--since", "1h", text=False)
    check(b"\x1b" not in answer and b"\xff" not in answer, f"nothing reaches the terminal: {answer!r}")
    watched.stop()


def code_without_a_file(fleet):
    program = build(fleet)
    for what, comm, least, text in (("jit", "strangers", 0.9, r"\[jit\]$|\[jit\];"),
                                    ("vdso", "strangers", 0.3, r"clock_gettime.*\[vdso\]|__vdso|vdso"),
                                    ("memfd", None, 0.9, r"strangers_burn")):
        # A program that was executed from memory is called by the number of its descriptor.
        watched = Watched(fleet, [program, what], comm=comm or "strangers")
        if comm is None:
            proc = f"/proc/{watched.process.pid}"
            wait_for("the execution", lambda: "memfd" in os.readlink(f"{proc}/exe"))
            with open(f"{proc}/comm", encoding="utf-8") as file:
                watched.comm = file.read().strip()
        watched.wait_for_share(what, least, text)
        watched.stop()


def storms(fleet):
    program = build(fleet)
    for what in ("renames", "zombies", "forks", "threads"):
        print("  ", what)
        watched = Watched(fleet, [program, what])
        if what != "renames":
            watched.wait_for_share(what, 0.5, r"strangers_burn")
        else:
            wait_for("names", lambda: fleet.folded(watched.aggregator.address, 'cpu{comm=~"name.*"}', "--since", "1h",
                                                   status=None))
        watched.stop()


def files_without_end(fleet):
    """Twenty thousand files; a hundred sparse ones of ten gigabytes; notes that take minutes to read."""
    program = build(fleet)
    for what in ("maps", "stack", "notes"):
        folder = os.path.join(fleet.dir, what)
        os.mkdir(folder)
        watched = Watched(fleet, [program, what, folder])
        watched.wait_for_samples(3.0)
        # A file is written out sparse; what it takes to hash is bounded per second.
        watched.stop(0.4)


def places(fleet):
    """In another pid, user and mount namespace, in a chroot, by a script, from a path with blanks and a line end."""
    program = build(fleet)
    odd = os.path.join(fleet.dir, "a b\n\x1b[1m" + "x" * 150)
    os.mkdir(odd)
    root = os.path.join(fleet.dir, "root")
    os.mkdir(root)
    static = compile_c(fleet, "static", SOURCE, "-pthread", "-static")
    os.link(static, os.path.join(root, "pfchroot"))
    os.link(program, os.path.join(odd, "pfodd"))
    os.link(program, os.path.join(fleet.dir, "pfspace"))
    script = os.path.join(fleet.dir, "pfscript")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!{program} burn\n")
    os.chmod(script, 0o755)
    for comm, argv in (("pfodd", [os.path.join(odd, "pfodd"), "burn"]),
                       ("pfspace", ["unshare", "-Urpfm", "--kill-child", os.path.join(fleet.dir, "pfspace"), "burn"]),
                       ("pfchroot", ["chroot", root, "/pfchroot", "burn"]),
                       ("pfscript", [script])):
        # The kernel makes no user namespace for a process in a chroot, and some containers forbid it.
        if argv[0] == "unshare" and subprocess.run(["unshare", "-Urpfm", "true"], check=False).returncode != 0:
            print("   no user namespaces here: none is looked at")
            continue
        watched = Watched(fleet, argv, comm=comm)
        watched.wait_for_share(comm, 0.9, r"strangers_burn")
        watched.stop()


if __name__ == "__main__":
    needs_root()
    for test in (names, code_without_a_file, storms, files_without_end, places):
        run(test)
