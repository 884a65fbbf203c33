"""A process is symbolized wherever its binary is: deleted since, or in another mount namespace; and kernel
frames have names.

# holds: machine
"""

import os
import subprocess

from lib_fleet import Agent, Aggregator, check, compile_c, cpu_seconds, needs_root, run, wait_for

BURN = """
#include <stdint.h>
static volatile uint64_t sink;
__attribute__((noinline)) void spin_in_%s(void) { for (int i = 0; i < 100000; i++) sink += i; }
int main(void) { for (;;) { spin_in_%s(); __asm__ volatile("" ::: "memory"); } }
"""

SYSCALLS = """
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	char bytes[65536];
	int zero = open("/dev/zero", O_RDONLY);
	for (;;) if (read(zero, bytes, sizeof(bytes)) < 0) return 1;
}
"""


def share_of(fleet, aggregator, comm, text):
    rows = fleet.folded(aggregator.address, f'cpu{{comm="{comm}"}}', "--since", "1h", status=None)
    total = sum(rows.values())
    return (sum(v for stack, v in rows.items() if text in stack) / total if total else 0.0), rows


def wherever_the_binary_is(fleet):
    needs_root()
    deleted = compile_c(fleet, "pfdeleted", BURN % ("deleted", "deleted"))
    hidden = compile_c(fleet, "pfhidden", BURN % ("hidden", "hidden"))
    calls = compile_c(fleet, "pfcalls", SYSCALLS)
    place = os.path.join(fleet.dir, "place")
    os.mkdir(place)

    processes = [subprocess.Popen([deleted])]
    # The binary lives on a tmpfs that only this process's mount namespace has.
    script = f"mount -t tmpfs none {place} && cp {hidden} {place}/pfhidden && exec {place}/pfhidden"
    processes.append(subprocess.Popen(["unshare", "-m", "sh", "-c", script]))
    processes.append(subprocess.Popen([calls]))
    fleet.undo.append(lambda: [(p.kill(), p.wait()) for p in processes])
    wait_for("the hidden program to run",
             lambda: open(f"/proc/{processes[1].pid}/comm", encoding="utf-8").read().strip() == "pfhidden")
    os.unlink(deleted)
    os.unlink(hidden)

    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", "199", "--interval", "1s", "--state-dir", fleet.dir])
    starts = [cpu_seconds(p.pid) for p in processes]
    wait_for("each to burn a second",
             lambda: all(cpu_seconds(p.pid) - s >= 1.0 for p, s in zip(processes, starts)), 120)

    # Symbols are asked for after the first interval that shows a file, then uploaded.
    for comm, name in (("pfdeleted", "spin_in_deleted"), ("pfhidden", "spin_in_hidden")):
        share = wait_for(f"symbols of {comm}",
                         lambda c=comm, n=name: (lambda s: s if s[0] > 0.9 else None)(share_of(fleet, aggregator, c, n)))
        print(f"{comm}: {share[0]:.1%} of its samples name {name}")
    share, rows = share_of(fleet, aggregator, "pfcalls", "read")
    check(share > 0.8, f"kernel frames of a reader of /dev/zero: {list(rows.items())[:5]}")
    kernel = sum(v for stack, v in rows.items() if "vfs_read" in stack or "ksys_read" in stack)
    check(kernel > 0.7 * sum(rows.values()), f"named kernel frames: {list(rows.items())[:5]}")
    raw = [frame for stack in rows for frame in stack.split(";") if frame.startswith("0x")]
    check(not raw, f"frames that are addresses: {raw[:5]}")
    check(agent.stop() == 0, "the agent stops with 0")


if __name__ == "__main__":
    run(wherever_the_binary_is)
