"""Short-lived processes count: under twenty fork+exec a second, every sample the kernel took of them is
in the answer under the right comm and exe, and the sum of samples is the children's CPU time times
the rate, within the sampling error.

# timeout: 300 s
# holds: machine
"""

import math
import os
import resource

from lib_fleet import Agent, Aggregator, check, compile_c, needs_root, run

HZ = 499
SECONDS = 12

BURN_MS = """
#include <stdlib.h>
#include <time.h>
static volatile unsigned long sink;
__attribute__((noinline)) void burn_some(void) { for (int i = 0; i < 1000; i++) sink += i; }
int main(int argc, char **argv)
{
	long ms = argc > 1 ? atol(argv[1]) : 10;
	struct timespec now;
	do {
		burn_some();
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	} while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < ms);
	return 0;
}
"""


def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def spawn(argv):
    """vfork + exec + wait; returns the child's CPU seconds by the kernel's accounting. With fork, a large
    part of a short program's time would be the copying of this interpreter, before exec, under its name.
    """
    pid = os.posix_spawn(argv[0], argv, os.environ,
                         file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)])
    _, status, usage = os.wait4(pid, 0)
    check(status == 0, f"{argv}: status {status}")
    return usage.ru_utime + usage.ru_stime


def every_sample_has_its_owner(fleet):
    needs_root()
    # Names of at most 15 characters: that is what the kernel keeps as comm.
    jobs = {"pfjob10": [compile_c(fleet, "pfjob10", BURN_MS), "10"],
            "pfjob100": [compile_c(fleet, "pfjob100", BURN_MS), "100"],
            "true": ["/bin/true"], "ls": ["/bin/ls", "/usr/bin"]}
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", str(HZ), "--interval", "1s", "--state-dir", fleet.dir])

    used = {name: 0.0 for name in jobs}
    runs = {name: 0 for name in jobs}
    order = ["true", "ls", "pfjob10", "true", "pfjob10", "ls", "pfjob100", "true", "ls", "pfjob10"]
    count = 20 * SECONDS
    for i in range(count):
        name = order[i % len(order)]
        used[name] += spawn(jobs[name])
        runs[name] += 1
    check(agent.stop() == 0, "the agent stops with 0")

    period = int(1e9 // HZ)
    series = fleet.json(aggregator.address, "series", "cpu", "--since", "1h")["series"]
    for name, argv in jobs.items():
        rows = fleet.folded(aggregator.address, f'cpu{{comm="{name}"}}', "--since", "1h",
                            status=None) if name in ("true",) else \
            fleet.folded(aggregator.address, f'cpu{{comm="{name}"}}', "--since", "1h")
        samples = sum(rows.values()) // period
        expected = used[name] * HZ
        error = math.sqrt(max(expected, 1))
        print(f"{name}: {runs[name]} runs, {used[name]:.3f} s of CPU, {samples} samples, "
              f"{expected:.0f} expected ({(samples - expected) / error:+.2f} sigma)")
        check(abs(samples - expected) <= 5 * error + 0.04 * expected + 1,
              f"{name}: {samples} samples, expected {expected:.0f}")
        exes = {s["labels"].get("exe", "") for s in series if s["labels"].get("comm") == name}
        real = os.path.realpath(argv[0])
        check(not samples or exes == {real} or exes == {argv[0]},
              f"{name}: exe is {exes}, not {real}")
        empty = [stack for stack in rows if stack == ""]
        check(not empty, f"{name}: samples without any frame")

    burned = fleet.folded(aggregator.address, 'cpu{comm="pfjob100"}', "--since", "1h")
    named = sum(v for stack, v in burned.items() if "burn_some" in stack)
    nameless = sum(v for stack, v in burned.items() if "[unknown] pfjob100" in stack)
    print(f"pfjob100: {named / sum(burned.values()):.1%} in burn_some, {nameless} ns without a name of its own")
    # Its start code and stubs have no sized symbol: beyond a symbol's size the answer is unknown.
    check(named > 0 and nameless <= 0.02 * sum(burned.values()), "symbols of a program that lives 100 ms are there")


if __name__ == "__main__":
    run(every_sample_has_its_owner)
