"""What an operator does with retention, against a real aggregator: policies are set, planned, applied and
undone, holds protect, deletion on request is reported, what was hidden is erased after its delay, the audit
log is whole until a byte of it is flipped, and every verb has the exit code that is promised.

# timeout: 300 s
"""

import glob
import json
import os
import re
import time
import urllib.request

from lib_fleet import Aggregator, await_rollups, check, run, wait_for, write

DAY = 86400
LONG = ["--from", "now-90d"]
POLICIES = """
policies:
  - name: default
    selector: '{}'
    tiers: { detail: 30d, 10m: 60d, 1h: 400d }
  - name: cart
    selector: '{service="cart"}'
    priority: 10
    tiers: { detail: 7d, 10m: 7d, 1h: 7d, 1d: 7d }
    reason: cart is loud
"""


def fill(fleet, address):
    """Two services, some of it old."""
    stacks = write(fleet, "a.folded", "".join(f"main;f{i} {i + 1}\n" for i in range(50)))
    now = int(time.time()) // 600 * 600
    for days, services in ((1, ("cart", "web")), (2, ("web",)), (3, ("web",)), (9, ("cart", "web")),
                           (40, ("cart", "web"))):
        for service in services:
            fleet.cli(address, "import", stacks, "--format", "folded", "--type", "cpu", "--label",
                      f"service={service}", "--label", "version=1.0", "--at", str(now - days * DAY), "--duration", "10s")


def metric(aggregator, name):
    with urllib.request.urlopen(f"{aggregator.http}/metrics", timeout=10) as reply:
        for line in reply.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def cart(fleet, address):
    return sum(fleet.folded(address, 'cpu{service="cart"}', *LONG, status=None).values())


def web(fleet, address):
    return sum(fleet.folded(address, 'cpu{service="web"}', *LONG, status=None).values())


def some_of_a_run_is_undone(fleet, address, done, before):
    """Asked first, then one service of some days, then what is left."""
    run_id, hidden = str(done["runs"][0]), web(fleet, address)
    would = fleet.json(address, "retention", "undo", run_id, "--dry-run")
    check(not would["done"] and would["bytes"] == done["bytes"] and would["bytes_left"] == 0, would)
    check({(row["service"], row["tier"]) for row in would["rows_back"]} >= {("cart", "detail"), ("web", "detail")},
          would)
    some = ["--only", '{service="cart"}', "--from", "now-20d"]
    text = fleet.cli(address, "retention", "undo", run_id, *some, "--dry-run")
    check("would come back" in text and "cart" in text and "web" not in text and "nothing was changed" in text, text)
    check(cart(fleet, address) == before // 3, "nothing was changed")
    for argv, status, words in ((["--only", '{service="none"}'], 6, "nothing of that is hidden"),
                                (["--only", "cpu{"], 2, "selector"), (["--from", "now", "--to", "now-1d"], 2, "--from"),
                                (["--from", "yesterday"], 2, "--from")):
        fleet.cli(address, "retention", "undo", run_id, *argv, status=status)
        check(words in fleet.stderr, fleet.stderr)
    back = fleet.json(address, "retention", "undo", run_id, *some)
    check(back["done"] and 0 < back["bytes"] < done["bytes"], back)
    check(back["bytes"] + back["bytes_left"] == done["bytes"] and back["paused_until_ns"] > 0, back)
    check(cart(fleet, address) == 2 * before // 3 and web(fleet, address) == hidden, "nine days ago, and no more")
    left = next(one for one in fleet.json(address, "retention", "status")["runs"] if str(one["run"]) == run_id)
    check(left["bytes"] == back["bytes_left"], f"status says what stays hidden: {left}")
    said = fleet.json(address, "audit", "--action", "retention.undo_part")["records"][-1]
    check(said["bytes"] == back["bytes"] and "cart" in json.dumps(said["details"]), said)
    back = fleet.json(address, "retention", "undo", run_id, "--only", "{}")
    check(back["bytes_left"] == 0 and cart(fleet, address) == before, back)
    fleet.cli(address, "retention", "undo", run_id, "--dry-run", status=6)
    check("was undone already" in fleet.stderr, fleet.stderr)


def a_policy_is_planned_applied_and_undone(fleet, address):
    policies = write(fleet, "policies.yaml", POLICIES)
    before = cart(fleet, address)
    check(before == 3 * 50 * 51 // 2, f"three windows of cart: {before}")
    check("everything is kept for ever" in fleet.cli(address, "retention", "list"), "no policy, no end")
    fleet.cli(address, "retention", "get", "cart", status=6)

    # Without --yes nothing changes where bytes would go.
    said = fleet.cli(address, "retention", "set", "-f", policies, status=2)
    check("cart: added" in said and "--yes" in fleet.stderr, said + fleet.stderr)
    check(fleet.json(address, "retention", "list")["policies"] == [], "nothing was set")
    bad = write(fleet, "bad.yaml", "name: a\nselector: cpu{\ntiers: {}\n")
    fleet.cli(address, "retention", "set", "-f", bad, status=2)
    check("bad.yaml:2: policy \"a\": selector:" in fleet.stderr, fleet.stderr)

    # A plan says what goes, and is no more than a plan.
    plan = fleet.json(address, "retention", "plan", "-f", policies)
    fleet.cli(address, "retention", "plan", "-f", policies, "--exit-code", status=1)
    rows = {(row["policy"], row["service"], row["tier"]): row for row in plan["rows"]}
    check(rows["cart", "cart", "detail"]["windows_now"] == 2, plan)
    check(rows["cart", "cart", "detail"]["rows_now"] == 100, plan)
    check(rows["default", "web", "detail"]["windows_now"] == 1, plan)
    check(any(one["service"] == "cart" and one["loss"] == "nothing is left to compare" for one in plan["comparisons"]),
          plan["comparisons"])
    check(cart(fleet, address) == before, "planning removes nothing")
    cut = fleet.cli(address, "retention", "plan", "-f", policies, "--limit", "1")
    check(f"1 of {len(rows)} rows shown" in cut and "significance" in cut, cut)

    # More than a fifth of the bytes: a second word.
    check(plan["needs_confirm"], plan)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], status=2)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", status=3)
    check("--confirm" in fleet.stderr and cart(fleet, address) == before, fleet.stderr)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm", "1", status=3)
    fleet.cli(address, "retention", "apply", "--plan", "0123456789abcdef", "--yes", status=6)
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm",
                      str(plan["windows_now"]))
    check(done["bytes"] == plan["bytes_now"] and len(done["runs"]) == 1, done)
    check(cart(fleet, address) == before // 3, "two of three windows are hidden")

    some_of_a_run_is_undone(fleet, address, done, before)
    plan = fleet.json(address, "retention", "plan", "-f", policies)
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm",
                      str(plan["windows_now"]))

    # And back.
    status = fleet.json(address, "retention", "status")
    check([one["run"] for one in status["runs"]] == done["runs"], status)
    back = fleet.json(address, "retention", "undo", str(done["runs"][0]))
    check(back["bytes"] == done["bytes"] and back["missing"] == 0, back)
    check(cart(fleet, address) == before, "all of it is back")
    fleet.cli(address, "retention", "undo", str(done["runs"][0]), status=6)
    check("was undone already" in fleet.stderr, fleet.stderr)
    fleet.cli(address, "retention", "undo", "7", "8", status=6)
    check("no run 7" in fleet.stderr, fleet.stderr)

    # At once only by the number of windows.
    shorter = write(fleet, "shorter.yaml", POLICIES.replace("detail: 7d", "detail: 1h").replace("10m: 7d", "10m: 1d"))
    fleet.cli(address, "retention", "set", "-f", shorter, "--now", "--yes", status=2)
    number = re.search(r"--confirm (\d+)", fleet.stderr).group(1)
    fleet.cli(address, "retention", "set", "-f", shorter, "--now", "--yes", "--confirm", number + "0", status=2)
    fleet.cli(address, "retention", "set", "-f", shorter, "--now", "--yes", "--confirm", number)

    # That was the second word: a plan of these policies, and applying it, ask for no other one.
    plan = fleet.json(address, "retention", "plan")
    check(plan["windows_now"] == int(number) and plan["needs_confirm"] == "", plan)
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes")
    check(done["bytes"] == plan["bytes_now"] > 0, done)
    fleet.cli(address, "retention", "undo", *map(str, done["runs"]))
    check(cart(fleet, address) == before, "all of it is back once more")
    # What is back is for a word of its own.
    again = fleet.json(address, "retention", "plan")
    check("more than a fifth" in again["needs_confirm"], again)
    fleet.cli(address, "retention", "set", "-f", policies, "--yes")

    # A plan is bound to the policies it was made of.
    plan = fleet.json(address, "retention", "plan")
    other = write(fleet, "other.yaml", "name: other\nselector: '{service=\"none\"}'\ntiers: { detail: 1d }\n")
    fleet.cli(address, "retention", "set", "-f", other)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", status=2)
    check("changed since" in fleet.stderr, fleet.stderr)
    fleet.cli(address, "retention", "delete", "other", "--yes")
    check("detail: 7d" in fleet.cli(address, "retention", "get", "cart"), "get prints what set reads")

    text = fleet.cli(address, "retention", "explain", 'cpu{service="cart"}', "--at", "now-8d")
    check("wins: the highest priority" in text and "lower priority: 0" in text and "left now: gone" in text, text)


def what_is_not_sealed_yet_is_held_and_deleted_as_well(fleet, address):
    stacks = write(fleet, "fresh.folded", "main;g 5\n")
    fleet.cli(address, "import", stacks, "--format", "folded", "--type", "cpu", "--label", "service=fresh-of-today",
              "--at", str(int(time.time()) - 5), "--duration", "1s")
    fleet.cli(address, "hold", "create", '{service="fresh-of-today"}', "--reason", "new", "--id", "new")
    would = fleet.cli(address, "retention", "forget", '{service="fresh-of-today"}')
    check("1 rows that are not sealed yet are protected by a hold" in would and "hold new protects" in would, would)
    fleet.cli(address, "retention", "forget", '{service="fresh-of-today"}', "--yes", status=2)
    check("hold \"new\"" in fleet.stderr, fleet.stderr)
    fleet.cli(address, "hold", "release", "new", "--reason", "old")
    fleet.cli(address, "backup", "create", "before")
    gone = fleet.json(address, "retention", "forget", '{service="fresh-of-today"}', "--yes", "--now")
    check(gone["open_rows"] == 1 and gone["generations"] == 1 and gone["backups"] == ["before"], gone)
    fleet.cli(address, "backup", "delete", "before")
    for verb in ("series", "top"):
        fleet.cli(address, verb, 'cpu{service="fresh-of-today"}', status=6)
    check("fresh-of-today" not in fleet.cli(address, "usage", "--by", "service", "--top", "0"), "usage has none of it")


def a_hold_beats_policies_and_deletion(fleet, address):
    before = cart(fleet, address)
    fleet.cli(address, "hold", "create", '{service="cart"}', status=2)
    check("--reason" in fleet.stderr, fleet.stderr)
    made = fleet.json(address, "hold", "create", '{service="cart"}', "--reason", "incident 7", "--id", "inc7")
    check(made["created"]["bytes"] > 0, made)
    fleet.cli(address, "hold", "create", '{service="cart"}', "--reason", "again", "--id", "inc7", status=2)
    check(all(row["service"] != "cart" for row in fleet.json(address, "retention", "plan")["rows"]), "cart is held")
    fleet.cli(address, "retention", "forget", '{service="cart"}', "--yes", status=2)
    check("inc7" in fleet.stderr, fleet.stderr)
    check("incident 7" in fleet.cli(address, "hold", "list"), "the hold is listed")
    fleet.cli(address, "hold", "release", "inc7", "--reason", "closed")
    fleet.cli(address, "hold", "release", "inc7", "--reason", "closed", status=6)

    what_is_not_sealed_yet_is_held_and_deleted_as_well(fleet, address)

    # Deletion on request: a report first, a second word, and undone.
    fleet.cli(address, "retention", "forget", status=2)
    fleet.cli(address, "retention", "forget", "{}", "--yes", status=2)
    would = fleet.json(address, "retention", "forget", '{service="cart"}')
    check(not would["done"] and would["rows"] == 150, would)
    check(cart(fleet, address) == before, "nothing was done")
    fleet.cli(address, "retention", "forget", '{service="cart"}', "--yes", status=3)
    gone = fleet.json(address, "retention", "forget", '{service="cart"}', "--yes", "--confirm", "150")
    check(gone["done"] and gone["rows"] == 150, gone)
    check(cart(fleet, address) == 0, "cart is forgotten")
    fleet.cli(address, "retention", "undo", str(gone["run"]))
    check(cart(fleet, address) == before, "and remembered")


def what_is_hidden_is_erased_after_the_delay(fleet, aggregator):
    address = aggregator.address
    before = fleet.json(address, "usage", "--by", "service")["bytes"]
    plan = fleet.json(address, "retention", "plan")
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm",
                      str(plan["windows_now"]))
    wait_for("the run to be erased", lambda: not fleet.json(address, "retention", "status")["runs"])
    fleet.cli(address, "retention", "undo", str(done["runs"][0]), status=6)
    check("was erased at 20" in fleet.stderr and "gone for good" in fleet.stderr, fleet.stderr)
    # Of 40 days ago web has sums alone: they know who was there.
    old = ["--from", "now-41d", "--to", "now-39d"]
    left = fleet.folded(address, '{service="web"}', *old)
    check(sum(left.values()) == 50 * 51 // 2 and left["main"] == 1 and "main;f0" not in left, f"one stack was rare: {left}")
    side = fleet.json(address, "top", '{service="web"}', *old)["side"]
    check(side["completeness"]["folded"] == {"rare": {"samples": 1, "value": 1}}, f"which is said: {side}")
    check(side["coverage_ns"] == 10 * 10**9 and side["series"] == 1, f"who was watched, and for how long: {side}")
    series = fleet.json(address, "series", '{service="web"}', *old)["series"]
    check(len(series) == 1 and time.time() - 41 * DAY < series[0]["first_ns"] / 1e9 < time.time() - 39 * DAY, series)
    check("1.0" in fleet.cli(address, "labels", "version", *old), "labels know it as well")
    after = fleet.json(address, "usage", "--by", "service")["bytes"]
    check(after <= before - done["bytes"], f"{before} - {done['bytes']} bytes are left: {after}")
    deleted = fleet.json(address, "retention", "status")["deleted_bytes"]
    check(deleted["cart"] > 0 and deleted["default"] > 0, deleted)
    check(metric(aggregator, 'profleet_retention_deleted_bytes_total{policy="cart"}') == deleted["cart"], "metric")
    check(metric(aggregator, "profleet_retention_last_success_timestamp_seconds") > time.time() - 60, "enforced")
    check(metric(aggregator, "profleet_retention_overdue_bytes") == 0, "nothing is overdue")
    forecast = fleet.json(address, "usage", "--forecast", "90d")["forecast"]
    check(forecast["room_bytes"] > 0 and forecast["bytes_then"] > 0, forecast)


def the_log_is_whole_until_a_byte_is_flipped(fleet, aggregator):
    address = aggregator.address
    check("whole:" in fleet.cli(address, "audit", "--verify"), "the chain is whole")
    records = [json.loads(line) for line in fleet.cli(address, "audit", "-o", "jsonl", "--limit", "0").splitlines()]
    check([one["seq"] for one in records] == list(range(1, len(records) + 1)), records)
    actions = {one["action"] for one in records}
    check({"retention.set_by_plan", "retention.apply", "retention.undo", "retention.erase", "retention.forget",
           "hold.create", "hold.release"} <= actions, actions)
    applied = next(one for one in records if one["action"] == "retention.apply")
    check("@" in applied["actor"] and applied["origin"].startswith("127.0.0.1:") and applied["bytes"] > 0, applied)
    check(len(fleet.json(address, "audit", "--action", "hold", "--limit", "1")["records"]) == 1, "one of the holds")

    aggregator.stop()
    flipped = 0
    for path in glob.glob(os.path.join(aggregator.data, "*.sst")):
        with open(path, "r+b") as file:
            at = file.read().find(b"retention.set_by_plan")
            if at >= 0 and not flipped:
                file.seek(at)
                file.write(b"R")
                flipped += 1
    check(flipped == 1, "the record is in a file")
    again = Aggregator(fleet, data=aggregator.data, options=["--admin", "loopback"])
    said = fleet.cli(again.address, "audit", "--verify", status=1)
    check("BROKEN: record" in said, said)
    again.stop()


def who_may_not_is_told_so(fleet):
    closed = Aggregator(fleet, data=os.path.join(fleet.dir, "closed"), options=["--admin", "off"])
    fleet.cli(closed.address, "retention", "list", status=4)
    check("--admin" in fleet.stderr, fleet.stderr)
    closed.stop()
    fleet.cli("tcp://127.0.0.1:1", "usage", "--timeout", "500ms", status=5)
    cases = write(fleet, "cases.yaml", "policies_file: policies.yaml\ncases:\n"
                                       "- {labels: {service: cart}, age: 8d, expect: detail}\n")
    check("FAILED" in fleet.cli("", "retention", "test", "-f", cases, status=1), "a failing case is 1")


def retention_does_what_it_says(fleet):
    options = ["--retention-every", "300ms", "--retention-grace", "1h"]
    aggregator = Aggregator(fleet, options=[*options, *Aggregator.FILLING])
    fill(fleet, aggregator.address)
    aggregator = aggregator.again([*options, *Aggregator.SEALING])
    await_rollups(fleet, aggregator.address, 8)
    a_policy_is_planned_applied_and_undone(fleet, aggregator.address)
    a_hold_beats_policies_and_deletion(fleet, aggregator.address)
    aggregator = aggregator.again([*options, *Aggregator.SEALING, "--retention-delay", "1s"])
    what_is_hidden_is_erased_after_the_delay(fleet, aggregator)
    the_log_is_whole_until_a_byte_is_flipped(fleet, aggregator)
    who_may_not_is_told_so(fleet)


run(retention_does_what_it_says)
