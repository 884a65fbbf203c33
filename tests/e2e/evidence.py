"""Which functions changed more than chance: in a synthetic fleet one function of version 2 is slower, and it is the one
that is called more; instances of one version against others of the same are told apart from nothing.

# timeout: 180 s
"""

import csv
import io
import os
import subprocess

from lib_fleet import BIN, Aggregator, check, run, write

HOUR = ["--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T01:00:00Z"]
DAY = ["--from", "2026-03-01T00:00:00Z", "--to", "2026-03-02T00:00:00Z"]
START = 1772323200  # 2026-03-01T00:00:00Z
SIDES = ('cpu{version="v1"}', 'cpu{version="v2"}')
CHANGED = "cart::ledger::recompute_totals"


def evidence(fleet):
    data = os.path.join(fleet.dir, "data")
    subprocess.run([f"{BIN}/bench.fleet", "--services", "1", "--instances", "30", "--rows", "60", "--duration", "10m",
                    "--changed", "40", "--seed", "5", "--start", str(START), "--store", data], check=True,
                   capture_output=True, timeout=120)
    address = Aggregator(fleet, data=data).address

    def diff(*argv, sides=SIDES, **how):
        return fleet.json(address, "diff", *sides, *argv, **how)

    answer = diff(*HOUR, "--limit", "0")
    tested = [f for f in answer["functions"] if f["significance"]]
    said = [f["function"] for f in tested if f["verdict"] in ("more", "less")]
    changed = next(f for f in answer["functions"] if f["function"] == CHANGED)
    what = answer["significance"]
    check(changed["verdict"] == "more" and changed["significance"]["q"] < 0.01, changed)
    check(0.1 < changed["significance"]["change_low"] < 0.4 and 0.3 < changed["significance"]["change_high"] < 0.7, changed)
    # Version 2 came later, and what is asked of the fleet changes with time: that shows as well, but less surely.
    check(min(tested, key=lambda f: f["significance"]["p"]) is changed and len(said) < len(tested) // 50, said)
    check(what["of"] == "instances" and what["untested"] == "" and what["paired"] == 0, what)
    check(what["tested"] == len(tested) > 100 and what["more"] + what["less"] == len(said), what)
    check(all(f["verdict"] == "untested" and "samples" in f["untested"] for f in answer["functions"] if not f["significance"]),
          "what was seldom seen is not tested")
    check(what["whole"]["verdict"] in ("unknown", "unchanged"), what["whole"])

    # The search is among all functions, whatever is shown; by what sums keep of instances over a longer range.
    for argv in ((*HOUR, "--limit", "3"), (*DAY, "--limit", "3"), (*HOUR, "--sort", "cum", "--limit", "0")):
        other = diff(*argv)
        found = next(f for f in other["functions"] if f["function"] == CHANGED)
        check(found["verdict"] == "more", (argv, found))
        check(other["significance"]["of"] == ("hash groups of instances" if argv[1] == DAY[1] and argv[3] == DAY[3] else
                                              "instances"), other["significance"])
        if "cum" not in argv:
            check(abs(found["change"] - changed["change"]) < 1e-9 and other["significance"]["tested"] > 100, found)

    # Swapped, it is less.
    back = next(f for f in diff(*HOUR, sides=SIDES[::-1])["functions"] if f["function"] == CHANGED)
    check(back["verdict"] == "less" and abs(back["significance"]["p"] - changed["significance"]["p"]) < 1e-9, back)

    # Of one version nothing has changed, however its instances are parted.
    reports = 0
    for version in ("v1", "v2"):
        for part in ("02468ace", "01234567", "0145cdef"):
            sides = (f'cpu{{version="{version}",instance=~".*[{part}]"}}', f'cpu{{version="{version}",instance=~".*[^{part}]"}}')
            same = diff(*HOUR, "--limit", "1", sides=sides)["significance"]
            check(same["tested"] > 100 and same["more"] + same["less"] <= 2, (sides, same))
            reports += same["more"] + same["less"] > 0
    check(reports <= 1, f"{reports} of 6 comparisons called something a change")
    # Against itself it is paired, and the same to the last sample.
    itself = diff(*HOUR, "--limit", "1", sides=(SIDES[0], SIDES[0]))["significance"]
    check(itself["paired"] == itself["tested"] > 0 and itself["more"] == itself["less"] == 0, itself)

    text = fleet.cli(address, "diff", *SIDES, *HOUR, "--limit", "3")
    check("evidence" in text and "more " in text and "functions tested over" in text, text)
    check("may be chance (p" in text, text)
    wide = fleet.cli(address, "diff", *SIDES, *HOUR, "--limit", "3", "-o", "wide")
    check("would show" in wide, wide)
    rows = {r["function"]: r for r in csv.DictReader(io.StringIO(
        fleet.cli(address, "diff", *SIDES, *HOUR, "--limit", "0", "-o", "csv")))}
    check(rows[CHANGED]["verdict"] == "more" and float(rows[CHANGED]["q"]) < 0.01, rows[CHANGED])

    # Nobody asked; one instance; files: no evidence, and it is said why.
    off = diff(*HOUR, "--significance", "off")
    check(off["significance"] is None and "verdict" not in off["functions"][0], off["significance"])
    check("no significance" in fleet.cli(address, "diff", *SIDES, *HOUR, "--significance", "off"), "off")
    name = fleet.json(address, "labels", "instance", "--of", SIDES[0], *HOUR)["values"][0]["value"]
    one = diff(*HOUR, sides=(f'cpu{{instance="{name}"}}', SIDES[1]))["significance"]
    check(one["tested"] == 0 and "one instance on a side" in one["untested"], one)
    file = write(fleet, "a.folded", "main;parse 5\n")
    with_file = fleet.json(address, "diff", file, file)["significance"]
    check(with_file["tested"] == 0 and "a file" in with_file["untested"], with_file)


if __name__ == "__main__":
    run(evidence)
