"""Whoever asks and leaves is not worked for: questions of a CLI that is interrupted, running or waiting,
are given up, and what is asked next is answered.

# timeout: 300 s
"""

import os
import signal
import subprocess
import urllib.request

from lib_fleet import BIN, Aggregator, check, run, wait_for

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
AT = ["--at", "2026-01-01T00:10:00Z", "--duration", "10s"]
STACKS = 30000
ASKERS = 6
TRIES = 20


def metrics(aggregator):
    with urllib.request.urlopen(aggregator.http + "/metrics") as page:
        lines = page.read().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("profleet_queries_")}


def is_busy(aggregator):
    seen = metrics(aggregator)
    return seen["profleet_queries_running"] >= 1 and seen["profleet_queries_waiting"] >= 2


def is_idle(aggregator):
    seen = metrics(aggregator)
    return seen["profleet_queries_running"] == 0 and seen["profleet_queries_waiting"] == 0


def interrupted(aggregator):
    """Many ask, all are interrupted while one is answered and others wait. False: they were too quick."""
    argv = [f"{BIN}/profleet", "--server", aggregator.address, "export", "cpu", "-o", "folded", *HOUR]
    askers = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(ASKERS)]
    busy = False
    while not busy and any(asker.poll() is None for asker in askers):
        busy = is_busy(aggregator)
    for asker in askers:
        if asker.poll() is None:
            asker.send_signal(signal.SIGINT)
    ends = [asker.wait() for asker in askers]
    return busy and -signal.SIGINT in ends


def what_nobody_waits_for_is_given_up(fleet):
    # Who starts this in the background may have it ignored, which the CLI would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    path = os.path.join(fleet.dir, "many.folded")
    with open(path, "w", encoding="utf-8") as file:
        for i in range(STACKS):
            file.write(f"main;a{i % 7};b{i % 101};c{i % 1009};d{i} {i + 1}\n")
    aggregator = Aggregator(fleet, options=["--query-threads", "1"])
    fleet.cli(aggregator.address, "import", path, "--type", "cpu", "--label", "service=s", *AT)

    for _ in range(TRIES):
        before = metrics(aggregator)
        if interrupted(aggregator):
            wait_for("nothing is worked at any more", lambda: is_idle(aggregator))
            after = metrics(aggregator)
            name = "profleet_queries_cancelled_total"
            if after[name] >= before[name] + 2:
                break
    else:
        raise AssertionError(f"interrupted {TRIES} times, and nothing was cancelled: {metrics(aggregator)}")

    rows = fleet.folded(aggregator.address, "cpu", *HOUR)
    check(sum(rows.values()) == STACKS * (STACKS + 1) // 2, f"all of it is there, not {sum(rows.values())}")
    check(aggregator.stop() == 0, "stops as ever")


if __name__ == "__main__":
    run(what_nobody_waits_for_is_given_up)
