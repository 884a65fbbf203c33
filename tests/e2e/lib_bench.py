"""What the tests of bench/run store share: a measurement on a tiny fleet, and what its table has to look like."""

import json
import os
import subprocess

from lib_fleet import BIN, SOURCE, check

# What is measured whatever the machine; a figure of each part of bench.store.
MEASURES = ["detail size", "append, durable, head to sealed, one core", "service merge over 1 h, warm, to finished tree",
            "service merge over 24 h", "service merge over 30 d of rollups", "diff of two 30-min ranges, both trees",
            "cold 1 h", "expiring three windows", "memory per distinct live stack"]


def measure(folder, *options):
    path = os.path.join(folder, "table.json")
    done = subprocess.run(["/usr/bin/python3", os.path.join(SOURCE, "bench", "run"), "store", "--no-build", "--no-wire",
                           "--size=-tiny", "--repeat", "1", "--json", path, *options],
                          capture_output=True, text=True, check=False, env={**os.environ, "PROFLEET_BIN": BIN})
    check(done.returncode == 0, f"bench/run store: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    with open(path, encoding="utf-8") as file:
        return done.stdout, json.load(file)


def check_row(row):
    ours = row["ours"]
    check(ours["min"] <= ours["median"] <= ours["max"] and ours["values"], f"no spread: {row}")
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
