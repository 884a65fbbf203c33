"""Groups and timelines: parts of an answer by label, and steps of a range, add up to the whole, whatever
form they are printed in.

# timeout: 120 s
"""

import csv
import io
import os

from lib_fleet import Aggregator, check, run

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
UNIX = 1767225600 * 10**9
MINUTE = 60 * 10**9

# region, version, minute it began, text; each is watched for 10 s.
FILES = [
    ("eu", "1", 0, "main;parse 30\nmain;render 10\n"),
    ("eu", "2", 7, "main;parse 5\nmain;render;parse 20\n"),
    ("us", "1", 7, "main;render 8\nmain;parse;parse 4\n"),
    ("", "2", 21, "main;idle 3\n"),
]


def imported(fleet, aggregator):
    for i, (region, version, minute, text) in enumerate(FILES):
        path = os.path.join(fleet.dir, f"{i}.folded")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        fleet.cli(aggregator.address, "import", path, "--type", "ticks", "--label", f"region={region}", "--label",
                  f"version={version}", "--label", "service=cart", "--at", f"2026-01-01T00:{minute:02}:00Z", "--duration",
                  "10s")


def groups(fleet, address):
    def top(*argv, **how):
        return fleet.json(address, "top", "ticks", *HOUR, *argv, **how)

    answer = top("--by", "region")
    check([(g["labels"], g["value"]) for g in answer["groups"]] ==
          [({"region": "eu"}, 65), ({"region": "us"}, 12), ({"region": ""}, 3)], answer["groups"])
    check(answer["side"]["value"] == 80 and abs(answer["groups"][0]["share"] - 65 / 80) < 1e-9, answer)
    # A function that calls itself counts once, in its group.
    functions = {g["labels"]["region"]: {f["function"]: (f["flat"], f["cum"]) for f in g["functions"]}
                 for g in answer["groups"]}
    check(functions["eu"] == {"parse": (55, 55), "render": (10, 30), "main": (0, 65)}, functions)
    check(functions["us"] == {"render": (8, 8), "parse": (4, 4), "main": (0, 12)}, functions)

    both = top("--by", "region,version", "--groups", "2", "--limit", "1")
    check([g["labels"] for g in both["groups"]] == [{"region": "eu", "version": "1"}, {"region": "eu", "version": "2"}],
          both)
    check(both["groups_cut"] == {"shown": 2, "of": 4, "value_not_shown": 15}, both)
    check(both["groups"][0]["cut"] == {"shown": 1, "of": 3, "flat_not_shown": 10}, both)

    text = fleet.cli(address, "top", "ticks", *HOUR, "--by", "region")
    check('region="eu"  total 65 ticks' in text or 'region="eu"  total 65' in text, text)
    check("all 3 groups shown" in text, text)
    rows = list(csv.DictReader(io.StringIO(fleet.cli(address, "top", "ticks", *HOUR, "--by", "version", "-o", "csv"))))
    check(sum(int(row["flat"]) for row in rows) == 80 and {row["version"] for row in rows} == {"1", "2"}, rows)
    fleet.cli(address, "top", "ticks", *HOUR, "--by", "region", "-o", "folded", status=2)
    fleet.cli(address, "top", "ticks", *HOUR, "--by", "a,b,c,d,e", status=2)
    fleet.cli(address, "top", "ticks", *HOUR, "--by", ",a", status=2)


def timelines(fleet, address):
    def steps(*argv):
        series = fleet.json(address, "timeline", "ticks", *HOUR, *argv)["series"]
        check(len(series) == 1 and series[0]["unit"] == "count", series)
        return series[0]["steps"]

    for step, length in (("1m", 1), ("10m", 10), ("7m", 7)):
        expected = {}
        for _, _, minute, text in FILES:
            begin = (UNIX + minute * MINUTE) // (length * MINUTE) * length * MINUTE
            expected[max(begin, UNIX)] = expected.get(max(begin, UNIX), 0) + sum(
                int(line.split()[1]) for line in text.splitlines())
        found = {s["from_ns"]: s["value"] for s in steps("--step", step) if s["value"]}
        check(found == expected, (step, found, expected))
    # The stacks that a function is on, once each.
    parse = {(s["from_ns"] - UNIX) // MINUTE: s["function"] for s in steps("--step", "1m", "--function", "parse")
             if s["function"]}
    check(parse == {0: 30, 7: 29}, parse)
    check(sum(s["coverage_ns"] for s in steps()) == 40 * 10**9, steps())
    text = fleet.cli(address, "timeline", "ticks", *HOUR, "--step", "10m", "--function", "parse")
    check("59 of 80" in text, text)
    rows = list(csv.DictReader(io.StringIO(fleet.cli(address, "timeline", "ticks", *HOUR, "--step", "10m", "-o", "csv"))))
    check([int(row["value"]) for row in rows] == [77, 0, 3, 0, 0, 0], rows)
    fleet.cli(address, "timeline", "ticks", *HOUR, "--step", "1ms", status=2)
    fleet.cli(address, "timeline", "nothing", *HOUR, status=6)
    fleet.cli(address, "timeline", "a.folded", status=2)


def groups_and_timelines(fleet):
    aggregator = Aggregator(fleet)
    imported(fleet, aggregator)
    for _ in range(2):
        groups(fleet, aggregator.address)
        timelines(fleet, aggregator.address)
        # The same from what was written down.
        aggregator.stop()
        aggregator = Aggregator(fleet, data=aggregator.data)


if __name__ == "__main__":
    run(groups_and_timelines)
