"""A workload that burns known shares in known functions is reported within the binomial error, and
`perf record` of the same moment agrees with us within it.

# timeout: 300 s
# holds: machine
"""

import math
import os
import re
import subprocess

from lib_fleet import Agent, Aggregator, check, compile_c, cpu_seconds, have, needs_root, run, wait_for

HZ = 199
CPU_SECONDS = 12
SHARES = {"spin_half": 0.5, "spin_three": 0.3, "spin_two": 0.2}

# Each call does the same work; only how often each is called differs.
BURN = """
#include <stdint.h>
static volatile uint64_t sink;
#define BURN(name) __attribute__((noinline)) void name(void) \\
	{ uint64_t x = sink | 1; for (int i = 0; i < 20000; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } \\
	  sink = x; __asm__ volatile("" ::: "memory"); }
BURN(spin_half) BURN(spin_three) BURN(spin_two)
__attribute__((noinline)) void work(void)
{
	for (int i = 0; i < 5; i++) spin_half();
	for (int i = 0; i < 3; i++) spin_three();
	for (int i = 0; i < 2; i++) spin_two();
	__asm__ volatile("" ::: "memory");
}
int main(void) { for (;;) work(); }
"""


def leaf_shares(rows):
    """{function: samples} by leaf, and the number of all."""
    leaves, total = {}, 0
    for stack, value in rows.items():
        leaf = stack.rsplit(";", 1)[-1]
        leaves[leaf] = leaves.get(leaf, 0) + value
        total += value
    return leaves, total


def within_error(what, samples, total, share, sigmas=4.5):
    error = math.sqrt(share * (1 - share) / total)
    off = samples / total - share
    print(f"{what}: {samples / total:.4f}, expected {share:.2f}, {off / error:+.2f} sigma of {total}")
    check(abs(off) <= sigmas * error + 0.004, f"{what}: {samples} of {total} is {off / error:+.1f} sigma off")


def perf_start(fleet, pid):
    data = os.path.join(fleet.dir, "perf.data")
    process = subprocess.Popen(["perf", "record", "-e", "cpu-clock", "-F", str(HZ), "-g", "-o", data, "-p",
                                str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, data


def perf_leaves(data):
    text = subprocess.run(["perf", "script", "-i", data, "-G", "-F", "ip,sym"], capture_output=True, check=True,
                          text=True).stdout
    leaves, total = {}, 0
    for name in re.findall(r"^\s*[0-9a-f]+ (\S+)", text, re.M):
        leaves[name] = leaves.get(name, 0) + 1
        total += 1
    return leaves, total


def known_shares_are_found(fleet):
    needs_root()
    burn = compile_c(fleet, "burn_shares", BURN)
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", str(HZ), "--interval", "1s", "--state-dir", fleet.dir])
    process = subprocess.Popen([burn])
    perf = perf_start(fleet, process.pid) if have("perf") else None
    try:
        wait_for("the workload to burn its time", lambda: cpu_seconds(process.pid) >= CPU_SECONDS, 200)
    finally:
        if perf:
            perf[0].send_signal(2)
            perf[0].wait(60)
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        burned = usage.ru_utime + usage.ru_stime
    check(agent.stop() == 0, "the agent stops with 0")

    rows = fleet.folded(aggregator.address, 'cpu{comm="burn_shares"}', "--since", "1h")
    leaves, total_ns = leaf_shares(rows)
    period = 1e9 / HZ
    total = round(total_ns / period)

    print(f"{total} samples for {burned:.2f} s of CPU at {HZ} Hz")
    expected = burned * HZ
    check(abs(total - expected) <= 5 * math.sqrt(expected) * 0.5 + 0.02 * expected + HZ * 0.05,
          f"{total} samples for {burned:.2f} s of CPU at {HZ} Hz, expected about {expected:.0f}")
    user = sum(leaves.get(name, 0) for name in SHARES)
    check(user >= 0.97 * total_ns, f"only {user / total_ns:.1%} of the samples are in the three functions: {leaves}")
    for name, share in SHARES.items():
        within_error(name, round(leaves.get(name, 0) / period), round(user / period), share)

    # The callers are there too: spin_* was called by work, which main called.
    full = sum(value for stack, value in rows.items() if "main;work;spin_" in stack)
    check(full >= 0.97 * total_ns, f"only {full / total_ns:.1%} of the samples show main;work;spin_*")

    if perf:
        theirs, their_total = perf_leaves(perf[1])
        for name, share in SHARES.items():
            ours = leaves.get(name, 0) / user
            other = theirs.get(name, 0) / max(1, their_total)
            error = math.sqrt(share * (1 - share) * (1 / (user / period) + 1 / max(1, their_total)))
            print(f"perf: {name} {other:.4f} of {their_total}, ours {ours:.4f}")
            check(abs(ours - other) <= 4.5 * error + 0.01, f"{name}: ours {ours:.4f}, perf's {other:.4f}")


if __name__ == "__main__":
    run(known_shares_are_found)
