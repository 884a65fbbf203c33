"""What the tests of bench/run store share: a measurement on a tiny fleet, and what its table has to look like."""

import json
import os
import subprocess

from lib_fleet import BIN, SOURCE, check

# What is measured whatever the machine; a figure of each part of bench.store.
MEASURES = ["detail size", "sums and rollups, 16 buckets, version and region", "dictionary: stacks, frames, names",
            "append, durable, head to sealed, one core", "bytes written over the life",
            "service merge over 1 h, warm, to finished tree", "service merge over 24 h", "service merge over 30 d of rollups",
            "the hour from detail, summed by stack, one core", "diff of two 30-min ranges, both trees", "cold 1 h", "cold 24 h",
            "expiring three windows", "new-stack path, each", "memory per distinct live stack",
            "questions while appending at half the maximum, p99", "appends (groups of 64 reports) meanwhile, p99"]

# Each is asked again and again for its profile.
PROFILED = ["service merge over 1 h, warm, to finished tree", "service merge over 24 h", "service merge over 30 d of rollups",
            "diff of two 30-min ranges, both trees"]


def measure(folder, *options):
    path = os.path.join(folder, "table.json")
    done = subprocess.run(["/usr/bin/python3", os.path.join(SOURCE, "bench", "run"), "store", "--no-build", "--no-wire",
                           "--size=-tiny", "--repeat", "1", "--json", path, *options],
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "PROFLEET_BIN": BIN, "BENCH_STORE_PROFILE_S": "2"})
    check(done.returncode == 0, f"bench/run store: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    with open(path, encoding="utf-8") as file:
        return done.stdout, json.load(file)


def check_row(row):
    ours = row["ours"]
    check(ours["min"] <= ours["median"] <= ours["max"] and ours["values"], f"no spread: {row}")
    shares = [line["share"] for line in row.get("profile", [])]
    check(shares == sorted(shares, reverse=True) and sum(shares) <= 1 + 1e-9, f"shares of one whole: {row}")
    check((row["met"] is None) == (row["reach"] is None), f"a reach without a verdict: {row}")
    if row["met"] is not None:
        is_met = ours["median"] >= row["reach"] if row["better"] == "more" else ours["median"] <= row["reach"]
        check(row["met"] == is_met, f"the verdict is not what the figures say: {row}")


def check_table(text, document, has_peer):
    check(document["schema_version"] == 1 and len(document["tables"]) == 1, document)
    table = document["tables"][0]
    rows = {row["measure"]: row for row in table["rows"]}
    for row in table["rows"]:
        check_row(row)
        check(row["measure"] in text, f"not printed: {row['measure']}")
    for name in MEASURES:
        check(name in rows, f"not measured: {name}; there are {list(rows)}")
    check((table["peer"] != "none") == has_peer, f"peer: {table['peer']}")
    merge = rows["service merge over 1 h, warm, to finished tree"]
    check((merge["peer"] is not None) == has_peer, f"peer's figures: {merge}")


def check_profiles(text, document):
    """Each has one. Whose functions are in it is a matter of a few hundred samples, under sanitizers theirs most of all."""
    rows = {row["measure"]: row for row in document["tables"][0]["rows"]}
    ours = set()
    for name in PROFILED:
        check(f"profile of: {name}" in text and rows[name]["profile"], f"no profile of {name}: {rows[name]}")
        ours |= {line["function"] for line in rows[name]["profile"] if line["module"] == "bench.store"}
    check(ours, f"functions of ours in what they do: {[rows[name] for name in PROFILED]}")
