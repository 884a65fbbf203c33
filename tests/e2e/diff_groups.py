"""diff --by: every group compared by itself, what it adds to the change of the whole, and whether its instances say
that it is more than chance; groups on one side only are said to be.

# timeout: 180 s
"""

import csv
import io
import os
import re

from lib_fleet import Aggregator, check, run

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
SECOND = 10**9
SIDES = ['cpu{version="1"}', 'cpu{version="2"}']

# region: milliseconds of parse on each instance, in version 1 and 2; each is watched for 10 s, and render is 500.
REGIONS = {
    "eu": ([1000, 1020, 980, 1010], [1500, 1490, 1520, 1510]),  # half more
    "us": ([700, 1300, 900, 1100], [1100, 800, 1200, 950]),  # anything
    "ap": ([1000, 1000], []),
    "sa": ([], [100, 110]),
}
RENDER = 500


def imported(fleet, aggregator):
    for region, versions in REGIONS.items():
        for version, instances in enumerate(versions, 1):
            for i, parse in enumerate(instances):
                path = os.path.join(fleet.dir, f"{region}{version}{i}.folded")
                with open(path, "w", encoding="ascii") as file:
                    file.write(f"main;parse {parse}000000\nmain;render {RENDER}000000\n")
                fleet.cli(aggregator.address, "import", path, "--type", "cpu", "--label", f"region={region}", "--label",
                          f"version={version}", "--label", f"instance={region}{version}{i}", "--at",
                          "2026-01-01T00:00:00Z", "--duration", "10s")


def rate(side):
    """mcores of an instance."""
    return sum(p + RENDER for p in side) / (len(side) * 10) if side else 0


def diff_by_region(fleet):
    aggregator = Aggregator(fleet)
    imported(fleet, aggregator)

    def diff(*argv, **how):
        return fleet.json(aggregator.address, "diff", *SIDES, *HOUR, "--by", "region", *argv, **how)

    answer = diff()
    groups = {g["labels"]["region"]: g for g in answer["groups"]}
    check(set(groups) == set(REGIONS), groups.keys())
    for region, (a, b) in REGIONS.items():
        group = groups[region]
        for side, values in (("a", a), ("b", b)):
            check(group[side]["value"] == sum(p + RENDER for p in values) * 10**6, group)
            check(group[side]["coverage_ns"] == len(values) * 10 * SECOND, group)
            check(not values or abs(group[side]["mcores_per_instance"] - rate(values)) < 1e-6, group)
        if a and b:
            check(abs(group["change"] - (rate(b) / rate(a) - 1)) < 1e-9 and group["mark"] == "", group)
        functions = {f["function"]: f for f in group["functions"]}
        check(functions["parse"]["a"]["flat"] == sum(a) * 10**6 and functions["parse"]["b"]["flat"] == sum(b) * 10**6,
              functions)
    # What they add comes to the change of the whole, the greatest first.
    whole = answer["b"]["mcores_per_instance"] - answer["a"]["mcores_per_instance"]
    adds = [g["adds"] for g in answer["groups"]]
    check(abs(sum(adds) - whole) < 1e-6, (adds, whole))
    check([abs(a) for a in adds] == sorted((abs(a) for a in adds), reverse=True), adds)

    # Half more on every instance is told from what differs anyway between instances.
    check(groups["eu"]["verdict"] == "more" and groups["eu"]["significance"]["q"] < 0.01, groups["eu"])
    check(groups["eu"]["significance"]["change_low"] < groups["eu"]["change"] <
          groups["eu"]["significance"]["change_high"], groups["eu"])
    check(groups["us"]["verdict"] == "unknown" and groups["us"]["significance"]["q"] > 0.5, groups["us"])
    check(groups["us"]["significance"]["smallest_change"] > 0.1, groups["us"])
    check(groups["ap"]["mark"] == groups["ap"]["verdict"] == "only in A" and groups["ap"]["significance"] is None, groups)
    check(groups["sa"]["mark"] == "only in B" and groups["sa"]["change"] is None, groups)
    check(answer["significance"]["tested"] == 2 and answer["significance"]["untested"] == "", answer["significance"])

    text = fleet.cli(aggregator.address, "diff", *SIDES, *HOUR, "--by", "region", "--limit", "1")
    check("more (q" in text and "only in A" in text and 'region="sa"' in text, text)
    check("all 4 groups shown" in text and "2 tested over instances" in text and "1 of 3 functions shown" in text, text)
    check(re.search(r"\bnew\b.*only in B", text) and re.search(r"\bgone\b.*only in A", text), text)
    two = diff("--groups", "2", "--limit", "1")
    check(len(two["groups"]) == 2 and two["groups_cut"] == {"shown": 2, "of": 4}, two["groups_cut"])
    rows = list(csv.DictReader(io.StringIO(
        fleet.cli(aggregator.address, "diff", *SIDES, *HOUR, "--by", "region", "-o", "csv"))))
    check({r["region"]: r["verdict"] for r in rows} ==
          {"eu": "more", "us": "unknown", "ap": "only in A", "sa": "only in B"}, rows)

    # Over a longer range by what sums keep of instances.
    day = fleet.json(aggregator.address, "diff", *SIDES, "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z",
                     "--by", "region")
    check(day["significance"]["of"] == "hash groups of instances" and answer["significance"]["of"] == "instances", day)
    hashed = {g["labels"]["region"]: g for g in day["groups"]}
    check(hashed["eu"]["change"] == groups["eu"]["change"] and hashed["eu"]["verdict"] == "more", hashed["eu"])
    check(hashed["us"]["verdict"] == "unknown", hashed["us"])
    buckets = fleet.json(aggregator.address, "top", "cpu", *HOUR, "--by", "instance%16", "--groups", "0")
    check(sum(g["value"] for g in buckets["groups"]) == buckets["side"]["value"], buckets["groups"])
    check(1 < len(buckets["groups"]) <= 16, buckets["groups"])

    # The same instances before and after are compared each with itself: 2 % more on every one is told from chance,
    # though instances differ by half.
    for i, parse in enumerate([1000, 1400, 800, 1700]):
        for minute, value in ((0, parse), (30, parse + (parse + RENDER) // 50 + i)):
            path = os.path.join(fleet.dir, f"pair{i}{minute}.folded")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"main;parse {value}000000\nmain;render {RENDER}000000\n")
            fleet.cli(aggregator.address, "import", path, "--type", "cpu", "--label", "region=eu", "--label", "version=3",
                      "--label", f"instance=pair{i}", "--at", f"2026-01-02T00:{minute:02}:00Z", "--duration", "10s")
    pair = fleet.json(aggregator.address, "diff", 'cpu{version="3"}', 'cpu{version="3"}', "--a-from",
                      "2026-01-02T00:00:00Z", "--a-to", "2026-01-02T00:10:00Z", "--b-from", "2026-01-02T00:30:00Z",
                      "--b-to", "2026-01-02T00:40:00Z", "--by", "region")
    check(pair["significance"]["paired"] == 1 and answer["significance"]["paired"] == 0, pair["significance"])
    check(pair["groups"][0]["verdict"] == "more" and pair["groups"][0]["change"] < 0.03, pair["groups"])

    # What is next to nothing on one side: no percent of nine digits, neither in the table nor in what could be seen.
    for version, values in enumerate(([1, 2], [3000000, 2000000]), 1):
        for i, value in enumerate(values):
            path = os.path.join(fleet.dir, f"dust{version}{i}.folded")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"main;parse {value}\n")
            fleet.cli(aggregator.address, "import", path, "--type", "cpu", "--label", "region=dust", "--label",
                      f"version={version}", "--label", f"instance=dust{version}{i}", "--at", "2026-01-03T00:00:00Z",
                      "--duration", "10s")
    dust = fleet.cli(aggregator.address, "diff", *SIDES, "--by", "region", "--from", "2026-01-03T00:00:00Z", "--to",
                     "2026-01-03T01:00:00Z")
    check(">1000x" in dust and not re.search(r"\d{6,}(\.\d+)? %", dust), dust)

    # Two labels; a group that is one instance; and swapped sides.
    both = diff("--by", "region,version")
    check(all(g["mark"] for g in both["groups"]) and len(both["groups"]) == 6, both["groups"])
    one = diff("--by", "instance")
    check(one["significance"]["tested"] == 0 and one["significance"]["untested"], one["significance"])
    back = fleet.json(aggregator.address, "diff", *reversed(SIDES), *HOUR, "--by", "region")
    swapped = {g["labels"]["region"]: g for g in back["groups"]}
    check(swapped["eu"]["verdict"] == "less", swapped["eu"])
    check(abs(swapped["eu"]["significance"]["p"] - groups["eu"]["significance"]["p"]) < 1e-9, swapped["eu"])

    for wrong in (["--by", "cum"], ["--by", "a,b,c,d,e"], ["--by", "region", "-o", "folded"]):
        fleet.cli(aggregator.address, "diff", *SIDES, *HOUR, *wrong, status=2)
    fleet.cli(aggregator.address, "diff", "a.folded", "b.folded", "--by", "region", status=2)


if __name__ == "__main__":
    run(diff_by_region)
