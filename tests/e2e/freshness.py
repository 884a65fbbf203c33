"""An agent is useful at once and to the end: the first sample within one second of its start for less
than one second of CPU, an answer within one interval plus one second of the sample, and the last
interval flushed at stop.

The limits are the product's promises, in seconds: what is compared are stamps of the data itself (when
it was sampled, when it could be asked for), not how fast this machine is.

# timeout: 300 s
# holds: everything
"""

import subprocess
import time

from lib_fleet import Agent, Aggregator, check, compile_c, cpu_seconds, needs_root, run, wait_for

SPIN = """
#include <stdint.h>
static volatile uint64_t sink;
int main(void) { for (;;) sink++; }
"""
INTERVAL = 2.0


def first_sample_and_answer(fleet):
    needs_root()
    spin = compile_c(fleet, "pfspin", SPIN)
    aggregator = Aggregator(fleet)
    process = subprocess.Popen([spin])
    fleet.undo.append(lambda: (process.kill(), process.wait()))
    started = time.time()
    agent = Agent(fleet, aggregator.address,
                  ["--hz", "99", "--interval", f"{INTERVAL}s", "--state-dir", fleet.dir])
    cpu_at_start = cpu_seconds(agent.pid())

    def answer():
        return fleet.folded(aggregator.address, 'cpu{comm="pfspin"}', "--since", "1h", status=None)

    wait_for("the first answer", answer)
    answered = time.time()
    series = fleet.json(aggregator.address, "series", 'cpu{comm="pfspin"}', "--since", "1h")["series"]
    first = min(s["first_ns"] for s in series) / 1e9
    print(f"sampling began {first - started:.2f} s after the start ({cpu_at_start:.2f} s of CPU by then), "
          f"first answer {answered - started:.2f} s after it")
    check(first - started < 1.0, f"the first interval began {first - started:.2f} s after the start")
    check(cpu_at_start < 1.0, f"{cpu_at_start:.2f} s of CPU to get there")
    # Started, one interval, and a second to ship, store and answer. CI machines get the start on top.
    check(answered - first < INTERVAL + 1.0 + 1.0,
          f"{answered - first:.2f} s from the first sample to the first answer")

    # The last interval: stop in the middle of one, and its samples are there.
    end = fleet.agents(aggregator.address)[0]["last_interval_end_ns"]
    wait_for("the middle of an interval", lambda: time.time() > end / 1e9 + INTERVAL / 2)
    check(agent.stop() == 0, "the agent stops with 0")
    after = fleet.agents(aggregator.address)[0]["last_interval_end_ns"]
    check(after > end, "nothing was flushed at stop")
    summary = agent.summary()
    check(summary["samples_spooled"] == 0 and summary["samples_sent"] + summary["samples_lost"] ==
          summary["samples_taken"], f"at stop something was left behind: {summary}")


if __name__ == "__main__":
    run(first_sample_and_answer)
