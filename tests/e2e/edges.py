"""A range that cuts windows of which nothing finer is left, and days that were collapsed to functions: every answer
that has some of it says so, for people and in JSON, also where finer rows are in the same answer.

# timeout: 180 s
"""

import subprocess
import time

from lib_fleet import BIN, Aggregator, check, run, wait_for, write

DAY = 86400
POLICY = "name: days\nselector: '{}'\ntiers: { detail: 2d, 10m: 2d, 1h: 2d, 1d: 400d }\n"
VERBS = (("top", "cpu"), ("tree", "cpu"), ("timeline", "cpu"), ("series",), ("labels",), ("labels", "service"))


def sides(answer):
    """Completeness of every side, wherever the verb has it."""
    if "completeness" in answer:
        return [answer["completeness"]]
    return [answer[key]["completeness"] for key in ("side", "a", "b") if key in answer]


def filled(fleet, address):
    """Two days ago and older there are only sums of days in the end; of an hour ago there is every row."""
    midnight = int(time.time()) // DAY * DAY
    at = [midnight - 5 * DAY + 36000, midnight - 4 * DAY + 36000, int(time.time()) // 600 * 600 - 3600]
    for start in at:
        stacks = write(fleet, "a.folded", "main;parse 30000000\nmain;render 50000000\n")
        fleet.cli(address, "import", stacks, "--type", "cpu", "--label", "service=cart", "--label", "instance=a", "--at",
                  str(start), "--duration", "10s")
    usage = ["usage", "--by", "tier", "--top", "0"]
    wait_for("both days to be rolled up", lambda: sum(
        row["units"] for row in fleet.json(address, *usage)["rows"] if row["tier"] == "1d") >= 2, 120)
    plan = fleet.json(address, "retention", "plan", "-f", write(fleet, "days.yaml", POLICY))
    check(plan["windows_now"] > 0, plan)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm", str(plan["windows_now"]))
    return at


def edges(fleet):
    aggregator = Aggregator(fleet, options=["--collapse-after", "1h", "--roll-grace", "0s", *Aggregator.SEALING])
    address = aggregator.address
    first, second, fresh = filled(fleet, address)
    midnight = second // DAY * DAY

    def asked(verb, begin, end, **how):
        argv = [verb[0], *verb[1:], "--from", str(begin), "--to", str(end)]
        return (sides(fleet.json(address, *argv, **how)), fleet.cli(address, *argv, **how), fleet.cli(
            address, *argv, "-o", "csv", **how) and fleet.stderr)

    collapsed = lambda: sides(fleet.json(address, "top", "cpu", "--from", str(midnight), "--to", str(midnight + DAY)))[0]
    wait_for("the day to be collapsed", lambda: collapsed()["windows_collapsed"] == 1, 60)

    # The range ends within the second day: all of that is counted, though the first row of today stands beside it.
    for verb in VERBS:
        if verb[0] == "tree":
            continue
        for begin, end, cut in ((midnight, second + 60, DAY), (midnight - DAY, second + 60, DAY),
                                (midnight, midnight + DAY, 0), (midnight, fresh + 600, 0)):
            # Nothing starts behind the second import: windows that end with what they have are not cut.
            has = second >= end
            parts, text, said = asked(verb, begin, end)
            check(parts[0]["cut_begin_ns"] == 0, (verb, begin, parts))
            check(parts[0]["cut_end_ns"] == (cut * 10**9 if has else 0), (verb, begin, end, parts))
            check(("ends within a window" in text) == has and ("ends within a window" in said) == has, (verb, text, said))
    # Cut in its middle, before the import that is in it. Series know when the first of the window was, and are not there.
    for verb in VERBS[:3]:
        parts, text, said = asked(verb, midnight, second - 60)
        check(parts[0]["cut_end_ns"] == DAY * 10**9, (verb, parts))
        check("the range ends within a window of 24.0 h" in text, (verb, text))
        check(verb[0] == "tree" or "the range ends within a window of 24.0 h" in said, (verb, said))
    # Begins within the day; what is of today is there row by row.
    for verb in VERBS:
        parts, text, said = asked(verb, midnight + 60, fresh + 600)
        check(parts[0]["cut_begin_ns"] == DAY * 10**9 and parts[0]["cut_end_ns"] == 0, (verb, parts))
        check("the range begins within a window of 24.0 h" in text and "left out" in text, (verb, text))
    both = fleet.json(address, "diff", "cpu", "cpu", "--a-from", str(midnight), "--a-to", str(second - 60), "--b-from",
                      str(midnight + 60), "--b-to", str(fresh + 600))
    a, b = sides(both)
    check((a["cut_begin_ns"], a["cut_end_ns"]) == (0, DAY * 10**9), a)
    check((b["cut_begin_ns"], b["cut_end_ns"]) == (DAY * 10**9, 0), b)
    # Of another service no window is cut.
    fleet.cli(address, "top", 'cpu{service="none"}', "--from", str(midnight + 60), "--to", str(fresh + 600), status=6)
    # What there is lies in a window that began before: that is said, and from when on to ask.
    fleet.cli(address, "top", "cpu", "--from", str(midnight + 60), "--to", str(midnight + DAY), status=6)
    check("begins before" in fleet.stderr and "--from" in fleet.stderr, fleet.stderr)

    # Collapsed: which days.
    for verb in (("top", "cpu"), ("tree", "cpu"), ("timeline", "cpu"), ("diff", "cpu", "cpu")):
        argv = [*verb, "--from", str(midnight - DAY), "--to", str(fresh + 600)]
        for part in sides(fleet.json(address, *argv)):
            check((part["windows_collapsed"], part["collapsed_from_ns"], part["collapsed_to_ns"]) ==
                  (2, (midnight - DAY) * 10**9, (midnight + DAY) * 10**9), (verb, part))
        check("2 windows of sums" in fleet.cli(address, *argv) and "functions apart alone" in fleet.cli(address, *argv), verb)
    alone = sides(fleet.json(address, "top", "cpu", "--from", str(fresh), "--to", str(fresh + 600)))[0]
    check(alone["windows_collapsed"] == 0 and alone["collapsed_to_ns"] == 0, alone)
    quiet = subprocess.run([f"{BIN}/profleet", "--server", address, "export", "cpu", "--from", str(midnight), "--to",
                            str(midnight + DAY), "-o", "folded"], capture_output=True, text=True, check=True)
    check("functions apart alone" in quiet.stderr, quiet.stderr)


if __name__ == "__main__":
    run(edges)
