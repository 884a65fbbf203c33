"""A disk that is full while windows are sealed, rolled up, forgotten and backed up: health names the folder,
questions are answered exactly, what is asked for is done or refused in words, and once there is room all of it
goes on by itself, in the same process.

# timeout: 600 s
"""

import os
import random
import re
import subprocess
import time
import urllib.error
import urllib.request

from lib_fleet import Aggregator, check, needs_root, run, skip, wait_for

DAY = 86400
LONG = ["--from", "now-90d"]
POLICY = "name: cart\nselector: '{service=\"cart\"}'\ntiers: { detail: 4d, 10m: 4d, 1h: 4d, 1d: 4d }\n"


class Disk:
    """A small file system of its own, and a ballast that leaves it without room."""

    def __init__(self, fleet):
        image, self.mount = os.path.join(fleet.dir, "disk"), os.path.join(fleet.dir, "mnt")
        os.mkdir(self.mount)
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, self.mount], check=False).returncode != 0:
            skip("loop mounts are not allowed here")
        fleet.undo.append(lambda: subprocess.run(["umount", "-l", self.mount], check=False))
        self.ballast = os.path.join(self.mount, "ballast")

    def fill(self, left=0):
        """All of it, or all but so many bytes."""
        with open(self.ballast, "ab") as file:
            for piece in (1 << 20, 4096):
                try:
                    while os.statvfs(self.mount).f_bfree * os.statvfs(self.mount).f_frsize > left + piece or (left == 0 and piece == 4096):
                        file.write(b"\0" * piece)
                        file.flush()
                        os.fsync(file.fileno())
                except OSError:
                    pass  # that is what it is for

    def make_room(self):
        os.unlink(self.ballast)


def health(aggregator):
    try:
        with urllib.request.urlopen(aggregator.http + "/healthz", timeout=20) as page:
            return page.read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


def metric(aggregator, name):
    with urllib.request.urlopen(aggregator.http + "/metrics", timeout=20) as page:
        return int(re.search(rf"^profleet_{name} (\d+)$", page.read().decode(), re.M).group(1))


def fill_store(fleet, address, days, services=("cart", "web")):
    """{service: value} of windows of these days."""
    rng = random.Random(3)
    now = int(time.time()) // 600 * 600
    total = {}
    for day in days:
        for service in services:
            path = os.path.join(fleet.dir, "some.folded")
            with open(path, "w", encoding="utf-8") as file:
                for _ in range(2000):
                    file.write(f"main;{rng.randbytes(12).hex()};{rng.randbytes(12).hex()} 1\n")
            fleet.cli(address, "import", path, "--format", "folded", "--type", "cpu", "--label",
                      f"service={service}", "--at", str(now - int(day * DAY)), "--duration", "10s")
            total[service] = total.get(service, 0) + 2000
    return total


def seen(fleet, address):
    return {service: sum(fleet.folded(address, f'cpu{{service="{service}"}}', *LONG).values())
            for service in ("cart", "web")}


def says_where(aggregator, disk):
    text = wait_for("a health that says the disk is full",
                    lambda: (lambda h: h if h.startswith("503") else None)(health(aggregator)), 60)
    check(disk.mount in text and "room" in text, f"where, and what to do: {text}")
    return text.strip()


def goes_on(aggregator):
    wait_for("health without hands", lambda: health(aggregator).startswith("ok"), 60)


def units_of(fleet, address, what):
    """What of a state or a tier there is."""
    return sum(row["units"] for row in fleet.json(address, "usage", "--by", "state,tier", "--top", "0")["rows"]
               if what in (row["state"], row["tier"]))


def is_done_or_told(fleet, address, *argv, or_words="room"):
    """Whatever it changes: done, or refused with what to do about the disk."""
    fleet.cli(address, *argv, status=None)
    print(" ".join(argv[:2]), fleet.status, fleet.stderr.strip())
    check(fleet.status == 0 or any(words in fleet.stderr for words in ("room", "free at least", or_words)),
          f"{argv}: {fleet.stderr}")
    return fleet.status == 0


def a_full_disk_at_each_of_them(fleet):
    needs_root()
    disk = Disk(fleet)
    data = os.path.join(disk.mount, "data")
    # Time enough to fill a disk that was left room to start on, before the first turn.
    turns = ["--seal-every", "10s"]
    aggregator = Aggregator(fleet, data=data, options=["--roll-grace", "1d", *Aggregator.FILLING])
    total = fill_store(fleet, aggregator.address, (0.5, 3, 6))

    # Sealing: the batches are there, and no file can be made of them.
    disk.fill(8 << 20)
    aggregator = aggregator.again(["--roll-grace", "1d", *turns])
    disk.fill()
    wait_for("a seal that fails", lambda: metric(aggregator, "seal_failures_total") > 0)
    print("sealing:", says_where(aggregator, disk))
    check(seen(fleet, aggregator.address) == total, "questions go on")
    disk.make_room()
    wait_for("all windows to be sealed", lambda: units_of(fleet, aggregator.address, "open") == 0, 120)
    goes_on(aggregator)
    check(seen(fleet, aggregator.address) == total, "and nothing was lost")
    check(aggregator.stop() == 0, "it stops with 0")

    # Rolling up: half a day ago waits for its hour.
    disk.fill(8 << 20)
    aggregator = Aggregator(fleet, data=data, options=["--roll-grace", "1s", "--retention-every", "200ms",
                                                       "--retention-grace", "0s", "--retention-delay", "1s", *turns])
    address = aggregator.address
    disk.fill()
    wait_for("a rollup that fails", lambda: metric(aggregator, "roll_failures_total") > 0)
    print("rolling up:", says_where(aggregator, disk))
    check(seen(fleet, address) == total, "questions go on")

    # A backup and a hold: done, or refused in words.
    told = fleet.cli(address, "backup", "create", "full", status=None) + fleet.stderr
    print("a backup:", told.strip())
    check(" files, " in told or "room" in told, told)
    if is_done_or_told(fleet, address, "hold", "create", '{service="web"}', "--reason", "full", "--id", "full"):
        is_done_or_told(fleet, address, "hold", "release", "full", "--reason", "over")
    disk.make_room()
    wait_for("the hours to be rolled up", lambda: units_of(fleet, address, "1h") == len(total) * 3, 120)
    goes_on(aggregator)
    check(seen(fleet, address) == total, "nothing was lost")

    # Retention: what has expired is hidden and erased, by itself once there is room.
    fleet.cli(address, "backup", "delete", "full", status=None)
    policy = os.path.join(fleet.dir, "policy.yaml")
    with open(policy, "w", encoding="utf-8") as file:
        file.write(POLICY)
    disk.fill()
    is_done_or_told(fleet, address, "retention", "set", "-f", policy, "--yes")
    plan = fleet.json(address, "retention", "plan", status=None)
    is_done_or_told(fleet, address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm",
                    str(plan["windows_now"]), or_words="plan again")  # a policy that found no room
    now = seen(fleet, address)
    check(now["web"] == total["web"] and now["cart"] in (total["cart"], total["cart"] * 2 // 3), f"{now} of {total}")
    disk.make_room()
    fleet.cli(address, "retention", "set", "-f", policy, "--yes")
    plan = fleet.json(address, "retention", "plan")
    fleet.cli(address, "retention", "apply", "--plan", plan["plan"], "--yes", "--confirm", str(plan["windows_now"]))
    wait_for("what expired to be erased", lambda: not fleet.json(address, "retention", "status")["runs"], 60)
    goes_on(aggregator)
    check(seen(fleet, address) == {"cart": total["cart"] * 2 // 3, "web": total["web"]}, "cart of six days ago is gone")
    fleet.cli(address, "backup", "create", "after")
    check("every byte" in fleet.cli(address, "backup", "verify", "after"), "a backup once there is room")
    check(aggregator.stop() == 0, "it stops with 0")


if __name__ == "__main__":
    run(a_full_disk_at_each_of_them)
