"""Upkeep as an operator has it: backups of an aggregator that is being sent to, listed, verified, restored
to a folder that another aggregator starts from, with and without one running; a store and a backup with a
wrong byte are named by --verify; names, targets and exit codes.

# timeout: 300 s
"""

import glob
import json
import os
import re
import shutil
import subprocess
import urllib.request

from lib_fleet import BIN, Aggregator, check, run, wait_for


def fill(fleet, address, job, stacks=2000):
    path = os.path.join(fleet.dir, f"{job}.folded")
    total = 0
    with open(path, "w", encoding="utf-8") as file:
        for i in range(stacks):
            total += i + 1
            file.write(f"main;{job}{i % 13};leaf{i} {i + 1}\n")
    fleet.cli(address, "import", path, "--format", "folded", "--type", "work", "--label", f"service={job}")
    return total


def value(fleet, address, job):
    return sum(fleet.folded(address, f'{{service="{job}"}}', "--since", "1h").values())


def verify(data, *options):
    return subprocess.run([f"{BIN}/profleet-aggregator", "--data", data, "--verify", *options],
                          capture_output=True, text=True, check=False, timeout=120)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def backups_on_a_running_store(fleet):
    aggregator = Aggregator(fleet)
    address, folder = aggregator.address, os.path.join(aggregator.data, "backups")
    first = fill(fleet, address, "first")
    check("no backups" in fleet.cli(address, "backup", "list"), "none are listed before there is one")
    made = fleet.cli(address, "backup", "create", "one")
    check("one" in made and folder in made, f"says what was made and where: {made}")
    second = fill(fleet, address, "second")
    unnamed = json.loads(fleet.cli(address, "backup", "create", "-o", "json"))["created"]["name"]
    listed = json.loads(fleet.cli(address, "backup", "list", "-o", "json"))["backups"]
    check(sorted(item["name"] for item in listed) == sorted(["one", unnamed]), f"both are listed: {listed}")
    by_name = {item["name"]: item for item in listed}
    check(by_name["one"]["rows"] == 2000 and by_name[unnamed]["rows"] == 4000, f"with what is in them: {listed}")
    check("every byte" in fleet.cli(address, "backup", "verify", "one"), "a good one is good")

    # What is refused, and how.
    for argv, status in ((["create", "one"], 2), (["create", "../x"], 2), (["restore", "none", "--to", "/tmp/x"], 6),
                         (["delete", "none"], 6), (["restore", "one", "--to", "relative"], 2),
                         (["restore", "one", "--to", aggregator.data], 2), (["restore", "one"], 2)):
        fleet.cli(address, "backup", *argv, status=status)

    # Restored by the running one, and by none.
    one, two = os.path.join(fleet.dir, "one"), os.path.join(fleet.dir, "two")
    fleet.cli(address, "backup", "restore", "one", "--to", one)
    check(aggregator.stop() == 0, "the aggregator stops with 0")
    offline = subprocess.run([f"{BIN}/profleet-aggregator", "--data", two, "--restore", os.path.join(folder, unnamed)],
                             capture_output=True, text=True, check=False, timeout=120)
    check(offline.returncode == 0, f"restored without an aggregator: {offline.stderr}")
    for data, expected in ((one, (first, 0)), (two, (first, second))):
        check(verify(data).returncode == 0, "what was restored is whole")
        restored = Aggregator(fleet, data=data)
        seen = (value(fleet, restored.address, "first"), value(fleet, restored.address, "second") if expected[1] else 0)
        check(seen == expected, f"{data}: {seen}, not {expected}")
        fill(fleet, restored.address, "third", 10)
        check(restored.stop() == 0, "it stops with 0")

    # A damaged one is named, by verify and by restore, and can be deleted.
    again = Aggregator(fleet, data=aggregator.data)
    flip(os.path.join(folder, "one", "store", "CURRENT"), 2)
    text = fleet.cli(again.address, "backup", "verify", "one", status=1)
    check("CURRENT" in text, f"names the file: {text}")
    fleet.cli(again.address, "backup", "restore", "one", "--to", os.path.join(fleet.dir, "none"), status=5)
    check(not os.path.exists(os.path.join(fleet.dir, "none")), "nothing is restored of it")
    fleet.cli(again.address, "backup", "delete", "one")
    audit = fleet.cli(again.address, "audit")
    check("backup.create" in audit and "backup.delete" in audit, f"it is in the audit log: {audit}")
    check(value(fleet, again.address, "second") == second, "the store is as it was")
    check(again.stop() == 0, "the aggregator stops with 0")


def acknowledged_before_is_in_it(fleet):
    """Backups one after the other while importers send: each has all that was acknowledged before it began."""
    aggregator = Aggregator(fleet, options=["--push-bytes", "65536"])
    path = os.path.join(fleet.dir, "many.folded")
    with open(path, "w", encoding="utf-8") as file:
        for i in range(20000):
            file.write(f"main;work{i % 97};leaf{i};{os.urandom(6).hex()} {i + 1}\n")
    with open(os.devnull, "wb") as nowhere:
        importer = subprocess.Popen([f"{BIN}/profleet", "--server", aggregator.address, "import", path, "--format",
                                     "folded", "--type", "work", "--label", "service=many"], stdout=nowhere)
    fleet.undo.append(lambda: importer.poll() is None and importer.kill())

    def stored():
        with urllib.request.urlopen(aggregator.http + "/metrics", timeout=20) as page:
            return int(re.search(r"^profleet_sections_stored_total (\d+)", page.read().decode(), re.M).group(1))

    wait_for("something acknowledged", lambda: stored() > 1 or importer.poll() is not None)
    for number in range(4):
        before = stored()
        made = json.loads(fleet.cli(aggregator.address, "backup", "create", f"b{number}", "-o", "json"))["created"]
        check(made["batches"] >= before, f"{made['batches']} batches, and {before} were acknowledged before")
    check(importer.wait(120) == 0, "the import ends well")
    check("every byte" in fleet.cli(aggregator.address, "backup", "verify", "b3"), "the last is whole")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def verify_says_what_is_wrong(fleet):
    aggregator = Aggregator(fleet)
    fill(fleet, aggregator.address, "cart")
    busy = verify(aggregator.data)
    check(busy.returncode == 5 and "in use" in busy.stderr, f"not while it is in use: {busy.returncode} {busy.stderr}")
    fleet.cli(aggregator.address, "backup", "create", "elsewhere")
    expected = fleet.folded(aggregator.address, "work", "--since", "1h")
    check(aggregator.stop() == 0, "the aggregator stops with 0")
    elsewhere = shutil.copytree(os.path.join(aggregator.data, "backups", "elsewhere"), os.path.join(fleet.dir, "elsewhere"))
    good = verify(aggregator.data, "-o", "json")
    summary = json.loads(good.stdout)
    check(good.returncode == 0 and summary["findings"] == [] and summary["rows"] == 2000, f"all is well: {good.stdout}")

    # The largest file of the database: batches.
    files = glob.glob(os.path.join(aggregator.data, "*.sst")) + glob.glob(os.path.join(aggregator.data, "*.log"))
    largest = max(files, key=os.path.getsize)
    flip(largest, 200)
    bad = verify(aggregator.data)
    check(bad.returncode == 1 and "damaged" in bad.stdout, f"{bad.returncode}: {bad.stdout} {bad.stderr}")
    found = json.loads(verify(aggregator.data, "-o", "json").stdout)
    check(found["damaged"] >= 1 and found["findings"][0]["kind"] == "damaged" and found["findings"][0]["key"],
          f"{found}")
    flip(largest, 200)
    check(verify(aggregator.data).returncode == 0, "and nothing was changed by looking")
    check(verify(os.path.join(fleet.dir, "nothing")).returncode == 5, "where there is none")

    # What is damaged comes back as docs/operating/backup.md has it: away with the folder, the backup in its place.
    flip(largest, 200)
    os.rename(aggregator.data, aggregator.data + ".damaged")
    restored = subprocess.run([f"{BIN}/profleet-aggregator", "--data", aggregator.data, "--restore", elsewhere],
                              capture_output=True, text=True, check=False, timeout=120)
    check(restored.returncode == 0, restored.stderr)
    again = Aggregator(fleet, data=aggregator.data)
    check(fleet.folded(again.address, "work", "--since", "1h") == expected != {}, "all of it is back")
    check(again.stop() == 0, "it stops with 0")


if __name__ == "__main__":
    for test in (backups_on_a_running_store, acknowledged_before_is_in_it, verify_says_what_is_wrong):
        run(test)
