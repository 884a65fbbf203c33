"""bench/fleet as a stranger would check it: one seed is one fleet, whether it goes over the wire to an aggregator that is
killed meanwhile, straight into a store, or into files; every sample of it is in the answers; its changed function
is what `profleet diff` finds; and what it cannot do it says.

# timeout: 300 s
"""

import os
import re
import resource
import signal
import subprocess
import urllib.request

from lib_fleet import BIN, SOURCE, Aggregator, check, run, wait_for

FLEET = ["--services", "2", "--instances", "4", "--rows", "40", "--pool", "2000", "--duration", "20m", "--changed", "200",
         "--life", "10m"]
PERIOD_NS = 20408163


def fleet_program(*argv, status=0, seconds=120, **how):
    done = subprocess.run([os.path.join(SOURCE, "bench", "fleet"), *argv], capture_output=True, text=True, check=False,
                          timeout=seconds, env={**os.environ, "PROFLEET_BIN": os.path.abspath(BIN)}, **how)
    check(done.returncode == status, f"bench/fleet {argv}: exit {done.returncode}, not {status}: {done.stdout}{done.stderr}")
    check(status == 0 or done.stderr.startswith("bench.fleet: "), f"says what is wrong: {done.stderr}")
    return done.stdout if status == 0 else done.stderr


def figures(text):
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.]+)", text, re.M)}


def functions(fleet, address, selector="cpu"):
    answer = fleet.json(address, "top", selector, "--since", "1d", "--limit", "0")
    return {row["function"]: row["flat"] for row in answer["functions"] if row["flat"]}


def check_totals(fleet, address, samples, what):
    total = fleet.json(address, "top", "cpu", "--since", "1d", "--limit", "1")["side"]["value"]
    check(total == samples * PERIOD_NS, f"{what}: {total} ns where there are {samples} samples of {PERIOD_NS}")
    parts = sum(fleet.json(address, "top", f'cpu{{service="{service}"}}', "--since", "1d", "--limit", "1")["side"]["value"]
                for service in ("checkout", "cart"))
    check(parts == total, f"{what}: services have {parts} of {total}")


def one_seed_is_one_fleet(fleet):
    seen = [re.search(r"rows_hash (\w+)", fleet_program(*FLEET, "--seed", seed)).group(1) for seed in ("1", "1", "2")]
    check(seen[0] == seen[1] != seen[2], f"hashes of seeds 1, 1 and 2: {seen}")
    churn = figures(fleet_program(*FLEET, "--seed", "1"))
    moved = figures(fleet_program(*FLEET, "--seed", "1", "--start", "1750000000"))
    check(all(churn[name] == moved[name] for name in ("rows", "samples", "stacks", "instances")),
          f"moved in time it is the same fleet: {churn}, {moved}")
    check(churn["instances"] > 8, f"instances come and go beside the rollout: {churn}")
    plain, heavy = (figures(fleet_program("--instances", "2", "--duration", "5m", "--pool", "2000", *more))["stacks"]
                    for more in ([], ["--heavy-tail"]))
    check(heavy > 1.2 * plain, f"a heavy tail has stacks that are met once: {heavy}, without {plain}")


def sent_over_a_kill(fleet, start):
    """By wire, to an aggregator that is killed while it is sent; (aggregator, what was printed)."""
    aggregator = Aggregator(fleet)
    sending = subprocess.Popen([f"{BIN}/bench.fleet", *FLEET, *start, "--aggregator", aggregator.address, "--agents", "3",
                                "--threads", "2"], stdout=subprocess.PIPE, text=True)
    fleet.undo.append(lambda: sending.poll() is None and sending.kill())

    def stored():
        with urllib.request.urlopen(aggregator.http + "/metrics", timeout=20) as page:
            return int(re.search(r"^profleet_sections_stored_total (\d+)", page.read().decode(), re.M).group(1))

    wait_for("something acknowledged", lambda: stored() > 20)
    aggregator.kill()
    killed_while_sending = sending.poll() is None
    aggregator = Aggregator(fleet, data=aggregator.data, listen=aggregator.address)
    text = sending.communicate(timeout=120)[0]
    check(sending.returncode == 0, f"exit {sending.returncode}: {text}")
    sent = figures(text)
    check(not killed_while_sending or sent["sent_again"] > 0, f"what the kill took was sent again: {text}")
    return aggregator, sent


def every_way_in_has_the_same_totals(fleet):
    import time
    start = ["--start", str(int(time.time()) // 600 * 600 - 3600)]
    expected = figures(fleet_program(*FLEET, *start))

    by_wire, sent = sent_over_a_kill(fleet, start)
    check(sent["samples"] == expected["samples"], f"printed {sent}, expected {expected}")
    check_totals(fleet, by_wire.address, expected["samples"], "by wire")

    folder = os.path.join(fleet.dir, "straight")
    written = figures(fleet_program(*FLEET, *start, "--store", folder))
    check(written["samples"] == expected["samples"] and written["rows"] == sent["rows"], f"{written}, {sent}")
    straight = Aggregator(fleet, data=folder)
    check_totals(fleet, straight.address, expected["samples"], "straight into a store")

    wait_for("names from the symbols that the agents sent",
             lambda: not any(name.startswith("[unknown]") for name in functions(fleet, by_wire.address)))
    ours, theirs = functions(fleet, by_wire.address), functions(fleet, straight.address)
    check(ours == theirs, f"functions by wire and straight differ: {set(ours.items()) ^ set(theirs.items())}")

    for version, other in (("v1", "v2"), ("v2", "v1")):
        answer = fleet.json(straight.address, "diff", f'cpu{{version="{version}"}}', f'cpu{{version="{other}"}}', "--since", "1d",
                            "--limit", "2")
        found = {row["function"] for row in answer["functions"]}
        check(found == {"checkout::ledger::recompute_totals", "cart::ledger::recompute_totals"},
              f"the changed function of both services, and nothing else, from {version}: {found}")

    files = os.path.join(fleet.dir, "files")
    wrote = figures(fleet_program(*FLEET, *start, "--per", "instance", "--pprof", files, "--folded", files))
    check(wrote["samples"] == expected["samples"], f"{wrote}, {expected}")
    imported = Aggregator(fleet, data=os.path.join(fleet.dir, "imported"))
    with open(os.path.join(files, "index.tsv"), encoding="utf-8") as index:
        names, *lines = [line.rstrip("\n").split("\t") for line in index]
    for at, line in enumerate(lines):
        file = dict(zip(names, line))
        form = ("pb.gz", "folded")[at % 2]
        labels = [word for name in ("service", "version", "instance") for word in ("--label", f"{name}={file[name]}")]
        # Folded stacks have neither time nor unit: of them it is said.
        said = ["--type", "cpu", "--at", file["start_s"], "--duration", file["duration_s"] + "s"] if form == "folded" else []
        fleet.cli(imported.address, "import", os.path.join(files, f"{file['file']}.{form}"), *labels, *said)
    half = functions(fleet, imported.address)
    check(half.keys() <= ours.keys() and half, "files name the functions as symbols do: "
          f"{sorted(half.keys() - ours.keys())[:5]}")


def what_it_cannot_do_it_says(fleet):
    small = ["--instances", "1", "--pool", "300", "--duration", "1m"]
    for argv, word in ((["--agents", "0"], "--agents"), (["--instances", "0"], "--instances"), (["--duration", "5s"], "10s"),
                       (["--seed", "18446744073709551616"], "--seed"), (["--rows", "4294967295"], "--rows"),
                       (["--pool", "4294967295"], "--pool"), (["--start", "18446744073709551"], "--start"),
                       (["--services", "4", "--instances", "2"], "--instances"), (["--stats", "--speed"], "one thing"),
                       (["--store", "x", "--limit", "1"], "--limit"), (["word"], "word")):
        check(word in fleet_program(*argv, status=2), f"{argv}: names {word}")
    fleet_program(*small, "--seed", "18446744073709551615")

    nobody = fleet_program(*small, "--aggregator", "tcp://127.0.0.1:1", "--patience", "1s", status=1)
    check("127.0.0.1:1" in nobody, f"nobody there: {nobody}")
    check("nonsense" in fleet_program(*small, "--aggregator", "nonsense", status=1), "no address")
    plain = os.path.join(fleet.dir, "plain")
    with open(plain, "wb"):
        pass
    for option in ("--store", "--pprof", "--folded"):
        check(plain in fleet_program(*small, option, plain, status=1), f"{option}: a file is no folder")

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    folder = os.path.join(fleet.dir, "full")
    said = fleet_program(*small, "--pprof", folder, status=1, preexec_fn=little_room)
    check("000000.pb.gz: File too large" in said, f"a file that finds no room: {said}")
    check("index.tsv" not in os.listdir(folder), "what is not whole has no index")
    said = fleet_program(*small, "--store", os.path.join(fleet.dir, "full store"), status=1, preexec_fn=little_room)
    check("full store" in said, f"a store that finds no room: {said}")


def what_is_interrupted_is_not_taken_for_whole(fleet):
    def start(option, folder):
        process = subprocess.Popen([f"{BIN}/bench.fleet", "--instances", "40", "--pool", "2000", option, folder],
                                   stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        fleet.undo.append(lambda: process.poll() is None and process.kill())
        return process

    files, store = os.path.join(fleet.dir, "files cut"), os.path.join(fleet.dir, "store cut")
    for option, folder, is_begun in (("--pprof", files, lambda: os.path.exists(os.path.join(files, "000003.pb.gz"))),
                                     ("--store", store, lambda: os.path.exists(store) and
                                      sum(entry.stat().st_size for entry in os.scandir(store) if entry.name.endswith(".log"))
                                      > 50000)):
        process = start(option, folder)
        wait_for("its first part", is_begun)
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=60)[0]
        check(process.returncode == -signal.SIGINT and out == b"", f"{option}: ends at once: {process.returncode} {out}")
    check("index.tsv" not in os.listdir(files), "no index")
    aggregator = Aggregator(fleet, data=store)
    total = fleet.json(aggregator.address, "top", "cpu", "--since", "1d", "--limit", "1")["side"]["value"]
    check(total > 0 and total % PERIOD_NS == 0, f"what was appended until then is there: {total}")


if __name__ == "__main__":
    for test in (one_seed_is_one_fleet, every_way_in_has_the_same_totals, what_it_cannot_do_it_says,
                 what_is_interrupted_is_not_taken_for_whole):
        run(test)
