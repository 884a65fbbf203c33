"""What an operator types that nobody expects, and has to be told the truth about: names that are too long or
mean something else, a run that is named twice, holds that overlap, a service under two policies, old sums of many
instances that are exported, a backup under another name, places where no store may be made, deletion of what
nobody has or nobody has sealed, and a range of which nothing can be read.

# timeout: 300 s
"""

import glob
import json
import os
import shutil
import subprocess
import time

from lib_fleet import BIN, Aggregator, await_rollups, check, run, write

DAY = 86400
LONG = ["--from", "now-90d"]
INSTANCES = 17  # one more than there are buckets: sums cannot tell all of them apart


def fill(fleet, address):
    stacks = write(fleet, "a.folded", "".join(f"main;f{i} {i + 1}\n" for i in range(20)))
    now = int(time.time()) // 600 * 600
    old, later = now - 9 * DAY, now - 5 * DAY
    jobs = [("web", i, "1.0", old) for i in range(INSTANCES)] + [
        ("cart", 0, "1.0", old), ("cart", 1, "2.0", later), ("cart", 1, "2.0", later + 300)]
    for service, instance, version, at in jobs:
        fleet.cli(address, "import", stacks, "--format", "folded", "--type", "cpu", "--label", f"service={service}",
                  "--label", f"version={version}", "--label", f"instance={service}-{instance}", "--at",
                  str(at), "--duration", "10s")
    return now


def refused(fleet, address, words, *argv, status=2):
    fleet.cli(address, *argv, status=status)
    check(words in fleet.stderr, f"{argv}: {fleet.stderr}")


def holds_are_named_whole_or_not_at_all(fleet, address):
    cart = '{service="cart"}'
    refused(fleet, address, "has a reason", "hold", "create", cart, "--reason", " \t ")
    refused(fleet, address, "longer than 63", "hold", "create", cart, "--reason", "x", "--id", "x" * 64)
    for name in ("one", "two"):
        said = fleet.cli(address, "hold", "create", cart, "--reason", "incident", "--id", name)
        check("matches it yet" not in said, said)
    said = fleet.cli(address, "hold", "create", '{service="crat"}', "--reason", "typed wrongly", "--id", "three")
    check("nothing that is sealed matches it yet" in said, said)
    group = fleet.json(address, "retention", "explain", cart)["groups"][0]
    check(group["hold"] == "one" and group["holds"] == ["one", "two"], f"each that must be released: {group}")
    check("held by one, two" in fleet.cli(address, "retention", "explain", cart), "in the table too")
    refused(fleet, address, "say why", "hold", "release", "one", "--reason", "  ")
    for name in ("one", "two", "three"):
        fleet.cli(address, "hold", "release", name, "--reason", "over")
    check(fleet.json(address, "retention", "explain", cart)["groups"][0]["holds"] == [], "none is left")


def policies_say_whose_they_are(fleet, address):
    for name in ("none", "on-request"):
        policies = write(fleet, "reserved.yaml", f"name: {name}\nselector: '{{}}'\ntiers: {{ detail: 7d }}\n")
        refused(fleet, address, f'policy "{name}"', "retention", "set", "-f", policies)
        refused(fleet, address, f'policy "{name}"', "retention", "plan", "-f", policies)
    policies = write(fleet, "policies.yaml", """
policies:
  - { name: default, selector: '{}', tiers: { detail: 1d, 10m: 1d, 1h: 1d, 1d: forever } }
  - { name: old, selector: '{service="cart",version="1.0"}', priority: 5, tiers: { detail: 8d, 10m: 8d, 1h: 20d } }
""")
    plan = fleet.json(address, "retention", "plan", "-f", policies)
    whose = {(one["service"], one["policy"]) for one in plan["comparisons"]}
    check({("cart", "default"), ("cart", "old"), ("web", "default")} <= whose, plan["comparisons"])
    text = fleet.cli(address, "retention", "plan", "-f", policies)
    check("cart, what policy old decides over, before" in text and "  web before" in text, text)
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm",
                      str(plan["windows_now"]))
    record = fleet.json(address, "audit", "--action", "retention.set_by_plan")["records"][-1]
    check(json.loads(record["details"]) == {"added": ["default", "old"]}, f"who became what: {record}")
    return str(done["runs"][0])


def old_sums_are_exported_whole(fleet, address):
    """Their instances cannot be told apart any more; their stacks can."""
    total = INSTANCES * 20 * 21 // 2
    check(sum(fleet.folded(address, 'cpu{service="web"}', *LONG).values()) == total, "folded has all of it")
    for selector, instances in (('{service="web"}', INSTANCES), ('{service="cart",version="1.0"}', 1)):
        side = fleet.json(address, "top", "cpu" + selector, *LONG)["side"]
        check(side["instances"] == instances and side["coverage_ns"] == instances * 10 * 10**9, f"who was watched: {side}")
    pprof = os.path.join(fleet.dir, "old.pb.gz")
    fleet.cli(address, "export", 'cpu{service="web"}', *LONG, "-o", "pprof", "--out", pprof)
    check("tell no single series apart" in fleet.stderr, fleet.stderr)
    shown = json.loads(fleet.cli(address, "top", pprof, "-o", "json"))
    check(shown["side"]["value"] == total, shown)
    refused(fleet, address, "no longer tell this apart", "top", 'cpu{service="web"}', "--by", "instance", *LONG,
            status=6)


def a_run_that_is_named_twice_is_undone_once(fleet, address, run_id):
    for number in ("18446744073709551616", "99999999999999999999999"):
        refused(fleet, address, "not a run", "retention", "undo", number)
    said = fleet.cli(address, "retention", "undo", run_id, run_id)
    check("back: " in said and "already" not in said, said)
    refused(fleet, address, f"run {run_id} was undone already", "retention", "undo", run_id, "7", status=6)
    check("no run 7" in fleet.stderr, fleet.stderr)


def backups_go_by_their_folder(fleet, aggregator):
    address, folder = aggregator.address, os.path.join(aggregator.data, "backups")
    fleet.cli(address, "backup", "create", "one")
    shutil.copytree(os.path.join(folder, "one"), os.path.join(folder, "copy"))
    listed = {item["name"]: item for item in fleet.json(address, "backup", "list")["backups"]}
    check(not listed["copy"]["is_damaged"] and listed["copy"]["rows"] == listed["one"]["rows"], listed)
    check("every byte" in fleet.cli(address, "backup", "verify", "copy"), "it is whole")
    for place in (aggregator.data, os.path.join(aggregator.data, "new"), os.path.join(folder, "new", "store")):
        refused(fleet, address, "running store's folder", "backup", "restore", "one", "--to", place)
    refused(fleet, address, "folder above it is not there", "backup", "restore", "one", "--to",
            os.path.join(fleet.dir, "a", "b"))
    for place in ("one", "one/store"):
        tried = subprocess.run([f"{BIN}/profleet-aggregator", "--data", os.path.join(folder, place), "--listen",
                                "tcp://127.0.0.1:0", "--http", "off"],
                               capture_output=True, text=True, check=False, timeout=60)
        check(tried.returncode == 73 and "belongs to a backup" in tried.stderr, tried)
    check("every byte" in fleet.cli(address, "backup", "verify", "one"), "and it is as it was")


def what_is_not_sealed_has_no_undo(fleet, address):
    """So most of it wants a second word too, and what matches nothing is said to."""
    said = fleet.cli(address, "retention", "forget", '{service="crat"}')
    check("nothing that is stored matches" in said, said)
    stacks = write(fleet, "new.folded", "".join(f"main;new{i} {i + 1}\n" for i in range(5000)))
    fleet.cli(address, "import", stacks, "--format", "folded", "--type", "cpu", "--label", "service=new")
    new = ["retention", "forget", '{service="new"}', "--yes"]
    refused(fleet, address, "safety stop", *new, status=3)
    said = fleet.cli(address, *new, "--confirm", "5000")
    check("there is no undo" in said and "retention undo" not in said, said)
    fleet.folded(address, 'cpu{service="new"}', *LONG, status=6)


def what_cannot_be_read_is_named(fleet, aggregator, minute):
    """Where nothing else is left of a range, it is no range without data."""
    within = ["--from", str(minute), "--to", str(minute + 60)]  # a part of the window: its rows answer
    check("no series matches" not in fleet.cli(aggregator.address, "top", 'cpu{service="cart"}', *within), "they do")
    aggregator.stop()
    for table in sorted(glob.glob(os.path.join(aggregator.data, "*.sst"))):
        with open(table, "r+b") as file:
            whole = file.read()
            file.seek(20)
            file.write(bytes([whole[20] ^ 1]))
        checked = subprocess.run([f"{BIN}/profleet-aggregator", "--data", aggregator.data, "--verify", "-o", "json"],
                                 capture_output=True, text=True, check=False, timeout=60)
        found = json.loads(checked.stdout)["findings"] if checked.returncode == 1 else []
        if found and all(one["family"] == "detail" and "cart" in one["key"] for one in found):
            break
        with open(table, "wb") as file:
            file.write(whole)
    else:
        raise AssertionError("no table has the rows of cart alone")
    again = Aggregator(fleet, data=aggregator.data, options=["--retention-every", "1h"])
    for verb in ("top", "tree", "export"):
        refused(fleet, again.address, "cannot be read: detail", verb, 'cpu{service="cart"}', *within, status=5)
    said = fleet.cli(again.address, "timeline", 'cpu{service="cart"}', *within)
    check("unreadable: " in said and "detail" in said, said)
    missing = fleet.json(again.address, "timeline", 'cpu{service="cart"}', *within)["completeness"]
    check(missing["batches_corrupt"] > 0 and missing["unreadable"][0]["service"] == "cart", missing)
    # Lists of who was there say what they could not look into, in the same words; and nothing at all is no empty list.
    for verb in (("series", 'cpu{service="cart"}'), ("labels", "--of", 'cpu{service="cart"}'),
                 ("labels", "service", "--of", 'cpu{service="cart"}')):
        found = fleet.json(again.address, *verb, *within, status=5)["completeness"]
        check(found["unreadable"] == missing["unreadable"] and found["batches_corrupt"] > 0, (verb, found))
        refused(fleet, again.address, "cannot be read: detail", *verb, *within, status=5)
    for verb in (("series",), ("labels",), ("labels", "service")):
        check("unreadable: " in fleet.cli(again.address, *verb, *LONG), verb)
        fleet.cli(again.address, *verb, *LONG, "-o", "csv")
        check("unreadable: " in fleet.stderr, (verb, fleet.stderr))
    check("unreadable" not in fleet.cli(again.address, "series", 'cpu{service="web"}', *LONG, status=None), "it is cart's")


def test(fleet):
    aggregator = Aggregator(fleet, options=["--retention-every", "1h", *Aggregator.FILLING])
    now = fill(fleet, aggregator.address)
    aggregator = aggregator.again(["--retention-every", "1h", *Aggregator.SEALING])
    await_rollups(fleet, aggregator.address, 3)
    holds_are_named_whole_or_not_at_all(fleet, aggregator.address)
    run_id = policies_say_whose_they_are(fleet, aggregator.address)
    old_sums_are_exported_whole(fleet, aggregator.address)
    a_run_that_is_named_twice_is_undone_once(fleet, aggregator.address, run_id)
    backups_go_by_their_folder(fleet, aggregator)
    what_is_not_sealed_has_no_undo(fleet, aggregator.address)
    what_cannot_be_read_is_named(fleet, aggregator, now - 5 * DAY)


if __name__ == "__main__":
    run(test)
