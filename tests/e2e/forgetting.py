"""Forgetting as an operator types it, with tenants: how far a deletion is, the safety stops where one tenant is half of
the bytes and where the clock jumps, undo before and after erasure, what is left of a tenant that was deleted, and
a log of changes whose end was cut off. What comes late for a sealed window is kept, what is older is refused; and
what is very old is told apart by functions alone.

# timeout: 300 s
"""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
import urllib.request

from lib_fleet import BIN, Aggregator, await_rollups, check, run, wait_for, write

DAY = 86400
TODAY = int(time.time()) // DAY * DAY  # once: midnight may pass meanwhile
PERIOD_NS = 20408163
RANGE = ["--from", "now-90d"]

# Reads of tables wait a moment, and the clock is off, as long as a file says so.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

ssize_t pread(int fd, void *to, size_t count, off_t at)
{
	ssize_t (*real)(int, void *, size_t, off_t) = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	const char *waits = getenv("READS_WAIT");
	if (waits && access(waits, F_OK) == 0)
		poll(NULL, 0, 60);
	return real(fd, to, count, at);
}

ssize_t pread64(int fd, void *to, size_t count, off_t at) { return pread(fd, to, count, at); }

int clock_gettime(clockid_t clock, struct timespec *to)
{
	int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(clock, to);
	const char *name = getenv("CLOCK_OFF");
	FILE *file = clock == CLOCK_REALTIME && name ? fopen(name, "r") : NULL;
	long off = 0;
	if (file) {
		if (fscanf(file, "%ld", &off) == 1)
			to->tv_sec += off;
		fclose(file);
	}
	return r;
}
"""


class Shim:
    def __init__(self, fleet):
        so = os.path.join(fleet.dir, "shim.so")
        write(fleet, "shim.so.c", SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", so + ".c", "-o", so], check=True)
        # A sanitizer's run-time wants to be first; it is named before us.
        linked = subprocess.run(["ldd", f"{BIN}/profleet-aggregator"], capture_output=True, text=True, check=True).stdout
        sanitizers = re.findall(r"(/\S*lib(?:asan|tsan|ubsan)\S*)", linked)
        self.waits, self.off = os.path.join(fleet.dir, "waits"), os.path.join(fleet.dir, "off")
        self.env = {"LD_PRELOAD": ":".join(sanitizers + [so]), "READS_WAIT": self.waits, "CLOCK_OFF": self.off}


def push(aggregator, tenant, *more, status=0):
    """Reports of agents of a tenant; what was printed."""
    done = subprocess.run([f"{BIN}/bench.fleet", "--aggregator", aggregator.address, "--tenant", tenant, "--services", "2",
                           "--instances", "4", "--pool", "2000", "--agents", "2", *more], capture_output=True, text=True,
                          check=False)
    check(done.returncode == status, f"{more}: {done}")
    return done.stdout + done.stderr


def value_of(printed):
    return int(re.search(r"^samples (\d+)", printed, re.M).group(1)) * PERIOD_NS


def rows(fleet, address, *by):
    return fleet.json(address, "usage", "--by", ",".join(by), "--top", "0")["rows"]


def filled(fleet, data, days, pushes, options=(), env=None):
    """A store with what these pushes bring. Days of hours and the day have to be made, or a plan is old before it is applied."""
    aggregator = Aggregator(fleet, data=os.path.join(fleet.dir, data), options=[*options, *Aggregator.FILLING], env=env)
    for tenant, *more in pushes:
        push(aggregator, tenant, *more)
    aggregator = aggregator.again([*options, *Aggregator.SEALING])
    await_rollups(fleet, aggregator.address, days)
    return aggregator


def total(fleet, address, selector="cpu"):
    return sum(fleet.folded(address, selector, *RANGE, status=None).values())


def refused(fleet, address, words, *argv, status):
    fleet.cli(address, *argv, status=status)
    check(words in fleet.stderr, f"{argv}: {fleet.stderr}")


def metric(aggregator, name):
    with urllib.request.urlopen(f"{aggregator.http}/metrics", timeout=20) as page:
        return int(re.search(rf"^{name} (\d+)", page.read().decode(), re.M).group(1))


def start_of(days):
    return str(TODAY - days * DAY + 3600)


def tenants_have_a_safety_stop_each(fleet):
    # Little of the whole is acme's, and most of that is old; all that globex has is new.
    aggregator = filled(fleet, "tenants", 4, [
        ("acme", "--rows", "30", "--duration", "20m", "--start", start_of(9), "--seed", "1"),
        ("acme", "--rows", "10", "--duration", "10m", "--start", start_of(2), "--seed", "2"),
        ("globex", "--rows", "600", "--duration", "1h", "--start", start_of(2), "--seed", "3"),
    ], ["--retention-every", "300ms", "--retention-delay", "1h", "--late-max", "30d", "--retention-grace", "1s"])
    address = aggregator.address
    by_tenant = {row["tenant"]: row["bytes"] for row in rows(fleet, address, "tenant")}
    check(set(by_tenant) == {"acme", "globex"} and by_tenant["acme"] * 5 < by_tenant["globex"], by_tenant)
    policy = write(fleet, "acme.yaml", "name: acme\nselector: '{tenant=\"acme\"}'\n"
                                       "tiers: { detail: 5d, 10m: 5d, 1h: 5d, 1d: 5d }\n")

    plan = fleet.json(address, "retention", "plan", "-f", policy)
    check(0 < plan["bytes_now"] * 5 < plan["bytes_visible"], f"less than a fifth of all: {plan['bytes_now']}")
    check('bytes of tenant "acme" would go, which is more than half' in plan["needs_confirm"], plan["needs_confirm"])
    apply = ["retention", "apply", "--plan", plan["plan"], "--yes"]
    refused(fleet, address, "safety stop", *apply, status=3)
    refused(fleet, address, "safety stop", *apply, "--confirm", str(plan["windows_now"] + 1), status=3)
    check(total(fleet, address) == total(fleet, address, "cpu"), "nothing was done")
    before = fleet.json(address, "usage", "--by", "tenant")["bytes"]

    # Enforced by itself when its grace is over it stops as well, says so, and goes on when it was put right.
    fleet.cli(address, "retention", "set", "-f", policy, "--yes")
    status = wait_for("the stop", lambda: "acme" in fleet.json(address, "retention", "status", status=None).get("stop", "") and
                      fleet.json(address, "retention", "status", status=3))
    check("more than half" in status["stop"], status)
    with urllib.request.urlopen(f"{aggregator.http}/metrics", timeout=20) as page:
        check("profleet_retention_safety_stop 1" in page.read().decode(), "the metric says it")
    check(fleet.json(address, "usage", "--by", "tenant")["bytes"] == before, "nothing was removed")
    plan = fleet.json(address, "retention", "plan")
    done = fleet.json(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm", str(plan["windows_now"]))
    check(done["bytes"] > 0 and done["runs"], done)
    check(not fleet.json(address, "retention", "status").get("stop"), "the second word ends it")
    left = {row["tenant"]: row["oldest_ns"] / 1e9 for row in rows(fleet, address, "tenant", "state") if row["state"] == "kept"}
    check(left["acme"] > time.time() - 4 * DAY, f"what was old is hidden: {left}")
    return aggregator


def a_tenant_is_deleted(fleet, aggregator):
    address = aggregator.address
    tenant = ["retention", "forget", "--tenant", "acme"]
    would = fleet.json(address, *tenant)
    check(not would["done"] and would["bytes"] > 0 and would["rows"] > 0, would)
    said = fleet.cli(address, *tenant)
    check(would["units_hidden"] > 0 and "hidden by earlier runs" in said, f"what the policies hid: {would}")
    check(all(word in said for word in ("its names stay", "agents last said", "audit log", "its totals")), f"what stays: {said}")
    # All that a tenant has is more than half of it.
    refused(fleet, address, f"--confirm {would['rows'] + would['open_rows']}", *tenant, "--yes", status=3)
    yes = [*tenant, "--yes", "--confirm", str(would["rows"] + would["open_rows"])]
    done = fleet.json(address, *yes)
    check(done["done"] and done["rows"] == would["rows"] and done["bytes"] == would["bytes"] and done["run"], done)
    check(not any(row["tenant"] == "acme" and row["state"] == "kept" for row in rows(fleet, address, "tenant", "state")),
          "all of it is hidden")
    said = fleet.cli(address, "retention", "undo", str(done["run"]))
    check("back:" in said and "nothing of it was gone yet" in said, said)
    check(any(row["tenant"] == "acme" and row["state"] == "kept" for row in rows(fleet, address, "tenant", "state")), "back")

    fleet.cli(address, "backup", "create", "before")
    at_once = fleet.json(address, *yes, "--now")
    check(at_once["done"] and "run" not in at_once and at_once["rows"] > would["rows"] and at_once["units_hidden"] == 0,
          f"also what the policies hid: {at_once}")
    check(at_once["backups"] == ["before"] and at_once["generations"] >= 1, f"what still has some of it is said: {at_once}")
    refused(fleet, address, "", "retention", "undo", str(done["run"]), status=6)
    check(fleet.json(address, *tenant)["units_10m"] == 0, "nothing is left to be deleted")

    others = total(fleet, address)
    aggregator.stop()
    again = Aggregator(fleet, data=aggregator.data)
    address = again.address
    check({(row["tenant"], row["state"]) for row in rows(fleet, address, "tenant", "state")} ==
          {("globex", "kept")}, "no unit of it, also of what the policies hid")
    check(total(fleet, address) == others > 0, "the other tenant has what it had")
    actions = [record["action"] for record in fleet.json(address, "audit", "--limit", "0")["records"]]
    check("retention.forget" in actions and "retention.forget_now" in actions and "retention.undo" in actions, actions)
    check(again.stop() == 0, "stops with 0")
    verified = subprocess.run([f"{BIN}/profleet-aggregator", "--verify", "--data", aggregator.data], capture_output=True,
                              text=True, check=False)
    check(verified.returncode == 0, f"nothing that is left speaks of what is gone: {verified.stdout}{verified.stderr}")


def tenants(fleet):
    a_tenant_is_deleted(fleet, tenants_have_a_safety_stop_each(fleet))


def what_was_erased_does_not_come_back(fleet):
    aggregator = filled(fleet, "erased", 2, [("", "--rows", "20", "--duration", "10m", "--start", start_of(2))],
                        ["--retention-every", "300ms", "--retention-delay", "1s"])
    address = aggregator.address
    would = fleet.json(address, "retention", "forget", '{service="cart"}')
    done = fleet.json(address, "retention", "forget", '{service="cart"}', "--yes", "--confirm", str(would["rows"]))
    wait_for("it to be erased", lambda: not fleet.json(address, "retention", "status")["runs"])
    fleet.cli(address, "retention", "undo", str(done["run"]), status=6)
    check(f"run {done['run']}" in fleet.stderr and "erased" in fleet.stderr, f"what became of it is said: {fleet.stderr}")
    check(total(fleet, address, 'cpu{service="cart"}') == 0, "and it is gone")
    aggregator.stop()


def what_comes_late_is_kept_up_to_an_age(fleet, shim, aggregator):
    """For a window that is sealed and in an hour and a day; a minute of another fleet in it."""
    late = ["--rows", "20", "--duration", "1m", "--seed", "2", "--start"]
    expected = total(fleet, aggregator.address) + value_of(push(aggregator, "", *late, start_of(2)))
    check(total(fleet, aggregator.address) == expected, "beside what was sealed")
    units = {row["state"]: row["units"] for row in rows(fleet, aggregator.address, "state")}
    check(set(units) == {"kept", "open"}, f"which is not touched: {units}")
    aggregator.kill()
    aggregator = Aggregator(fleet, data=aggregator.data, env=shim.env,
                            options=["--retention-every", "300ms", *Aggregator.SEALING])
    check(total(fleet, aggregator.address) == expected, "after a kill as well")
    said = push(aggregator, "", *late, start_of(9), status=1)
    check("late-max" in said, f"who sends what is too old is told so: {said}")
    check(metric(aggregator, "profleet_store_batches_late") == metric(aggregator, "profleet_sections_rejected_total") > 0,
          "and it is counted")

    # Ten minutes later it is a window of its own, and the day has it as well.
    write(fleet, "off", "660")
    day = int(start_of(2)) // DAY * DAY
    whole = ["--from", str(day), "--to", str(day + DAY), "--limit", "1"]
    side = wait_for("the day to be made anew", lambda: [side for side in [fleet.json(
        aggregator.address, "top", "cpu", *whole)["side"]] if side["completeness"]["resolution_finest_ns"] == DAY * 10**9])[0]
    check(side["value"] == expected and side["coverage_ns"] == 4 * 660 * 10**9, f"all of it, and nothing that was refused: {side}")
    check({row["state"] for row in rows(fleet, aggregator.address, "state")} == {"kept"}, "all is sealed")
    os.unlink(shim.off)
    return aggregator


def a_clock_that_jumps_stops_what_removes(fleet):
    shim = Shim(fleet)
    aggregator = filled(fleet, "clock", 2, [("", "--rows", "20", "--duration", "10m", "--start", start_of(2))],
                        ["--retention-every", "300ms"], env=shim.env)
    aggregator = what_comes_late_is_kept_up_to_an_age(fleet, shim, aggregator)
    address = aggregator.address
    policy = write(fleet, "month.yaml", "name: month\nselector: '{}'\n"
                                        "tiers: { detail: 30d, 10m: 30d, 1h: 30d, 1d: 30d }\n")
    fleet.cli(address, "retention", "set", "-f", policy, "--yes", "--now")
    before = total(fleet, address)
    check(before > 0 and not fleet.json(address, "retention", "status").get("stop"), "nothing has expired")
    write(fleet, "off", str(40 * DAY))
    status = wait_for("the jump to be seen", lambda: "clock jumped" in fleet.json(
        address, "retention", "status", status=None).get("stop", "") and fleet.json(address, "retention", "status", status=3))
    check("jumped forward by 9" in status["stop"] and status["overdue_bytes"] > 0, status)
    check(total(fleet, address) == before, "nothing is hidden")
    check(not status["runs"], status)
    # The clock is put right; that it jumped stays until it was seen.
    os.unlink(shim.off)
    wait_for("a turn with that clock", lambda: fleet.json(address, "retention", "status", status=3)["last_turn_ns"] / 1e9 <
             time.time() + DAY)
    plan = fleet.json(address, "retention", "plan")
    check(plan["bytes_now"] == 0 and "clock jumped" in plan["needs_confirm"], plan)
    refused(fleet, address, "safety stop", "retention", "apply", "--plan", plan["plan"], "--yes", status=3)
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm", "0")
    fleet.cli(address, "retention", "status")
    check(total(fleet, address) == before, "nothing was lost")
    aggregator.stop()


def on_terminal(look, address, *argv):
    """Standard output, and what its terminal saw of stderr. `look` is called with all of the latter when more comes."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([f"{BIN}/profleet", "--server", address, *argv], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=follower, env={**os.environ, "TERM": "xterm"})
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the last who had it open is gone
            break
        seen += part
        look(seen.decode(errors="replace"))
    out = process.stdout.read()
    process.stdout.close()
    os.close(leader)
    check(process.wait() == 0, f"{argv}: {process.returncode}: {seen}")
    return out, seen.decode(errors="replace")


def old_days_tell_functions_apart_alone(fleet):
    """The same fleet twice, the older one past `collapse-after`: smaller, and by function the same to the sample."""
    shim = Shim(fleet)
    write(fleet, "off", str(10 * DAY))
    options = ["--late-max", "60d", "--fold-day", "0"]
    aggregator = Aggregator(fleet, data=os.path.join(fleet.dir, "functions"), env=shim.env,
                            options=[*options, *Aggregator.FILLING])
    ages = {"young": 5, "old": 25}  # as the aggregator's clock has it: 15 and 35
    for tenant, days in ages.items():
        push(aggregator, tenant, "--rows", "40", "--duration", "10m", "--start", start_of(days))
    wait_for("every name", lambda: not any("[unknown]" in name for name in fleet.folded(aggregator.address, "cpu", *RANGE)))
    aggregator = aggregator.again([*options, *Aggregator.SEALING])
    address = aggregator.address
    await_rollups(fleet, address, 4)
    size = {row["tenant"]: row["bytes"] for row in rows(fleet, address, "tenant", "tier") if row["tier"] == "1d"}
    check(size["old"] < size["young"], f"it was collapsed: {size}")
    seen = []
    for days in ages.values():
        start = int(start_of(days)) // DAY * DAY
        whole = ["--from", str(start), "--to", str(start + DAY)]
        side = fleet.json(address, "top", "cpu", *whole, "--limit", "1")["side"]
        check(side["completeness"]["resolution_finest_ns"] == DAY * 10**9, f"from sums of the day: {side}")
        seen.append((fleet.folded(address, "cpu", *whole), side["value"], side["coverage_ns"], side["instances"]))
    check(seen[0] == seen[1] and seen[0][1] > 0 and seen[0][2] == 4 * 600 * 10**9, "nothing else is another")
    aggregator.stop()
    os.unlink(shim.off)


def deletion_says_how_far_it_is(fleet):
    shim = Shim(fleet)
    aggregator = filled(fleet, "far", 2, [("", "--rows", "20", "--duration", "4h", "--start", start_of(2))])
    data = aggregator.data
    aggregator.stop()
    # Opened anew, so that nothing of it is in memory.
    slow = Aggregator(fleet, data=data, env=shim.env, options=["--block-cache", "4MiB"])
    would = fleet.json(slow.address, "retention", "forget", '{service="cart"}')
    slow.stop()
    slow = Aggregator(fleet, data=data, env=shim.env, options=["--block-cache", "4MiB"])
    write(fleet, "waits", "")

    def drawn_of(seen):
        return [int(part) for part in re.findall(r"(\d+) %  \d+ s", seen)]

    def look(seen):
        if len(set(drawn_of(seen))) >= 2 and os.path.exists(shim.waits):
            os.unlink(shim.waits)  # Reads are slow until it was drawn twice, and no longer.

    out, seen = on_terminal(look, slow.address, "retention", "forget", '{service="cart"}', "--yes", "--confirm", str(would["rows"]),
                            "-o", "json")
    drawn = drawn_of(seen)
    print("per cent:", drawn)
    check(json.loads(out)["done"] and drawn == sorted(drawn) and len(set(drawn)) >= 2 and max(drawn) <= 100, f"{drawn} {seen!r}")
    slow.stop()


def an_end_that_was_cut_off_is_missed(fleet):
    data, copy = os.path.join(fleet.dir, "noted"), os.path.join(fleet.dir, "copy")
    aggregator = Aggregator(fleet, data=data)

    def hold(name):
        fleet.cli(aggregator.address, "hold", "create", "{}", "--reason", "x", "--id", name)

    def verify(*argv, status=0):
        return fleet.json(aggregator.address, "audit", *argv, status=status)

    hold("one")
    one = verify("--verify")
    check("noted" not in one and f"{one['last_seq']}:{one['last_hash']}" in fleet.cli(aggregator.address, "audit", "--verify"),
          "what to note is said")
    aggregator.stop()
    shutil.copytree(data, copy)
    aggregator = Aggregator(fleet, data=data)
    hold("two")
    two = verify("--verify")
    noted = [f"{each['last_seq']}:{each['last_hash']}" for each in (one, two)]
    check(verify("--noted", noted[0])["noted"] == {"is_there": True, "seq": one["last_seq"], "why": ""}, "the older one")
    check(verify("--noted", two["last_hash"].upper())["noted"]["seq"] == two["last_seq"], "the number need not be known")
    for wrong in ("1", "x:" + two["last_hash"], "0:" + two["last_hash"], "1:", two["last_hash"] + "0"):
        fleet.cli(aggregator.address, "audit", "--noted", wrong, status=2)
    aggregator.stop()

    # Somebody puts the older folder in its place: a chain that is whole, and too short.
    aggregator = Aggregator(fleet, data=copy)
    check("whole" in fleet.cli(aggregator.address, "audit", "--verify"), "by itself it cannot be seen")
    check(verify("--noted", noted[0])["noted"]["is_there"], "what is before the cut")
    said = verify("--noted", noted[1], status=1)
    check(not said["noted"]["is_there"] and "cut off" in said["noted"]["why"], said)
    check("MISSING: the noted record" in fleet.cli(aggregator.address, "audit", "--noted", noted[1], status=1), "in words")
    hold("another")
    said = verify("--noted", noted[1], status=1)
    check("another hash" in said["noted"]["why"], said)
    check("cut off, or made anew" in verify("--noted", two["last_hash"], status=1)["noted"]["why"], "without a number")
    aggregator.stop()


if __name__ == "__main__":
    run(tenants)
    run(a_clock_that_jumps_stops_what_removes)
    run(old_days_tell_functions_apart_alone)
    run(deletion_says_how_far_it_is)
    run(an_end_that_was_cut_off_is_missed)
    run(what_was_erased_does_not_come_back)
