"""An acknowledged sample is on the disk, and counts once: importers that stream while their aggregator is
killed, stopped, or loses everything it had not synced; a sync that hangs; files of the store with a
wrong byte.

# timeout: 600 s
"""

import os
import random
import re
import shutil
import subprocess
import sys

from lib_fleet import BIN, Aggregator, check, run, wait_for

# Loaded into the aggregator. Each sync that ended leaves a line with the file and the size that is safe
# now; while the file named by SYNC_HANGS exists, syncs of the log say so and wait.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *path, long long size)
{
	char line[4200];
	int fd = open(getenv("SYNC_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	int count = snprintf(line, sizeof(line), "%lld %s\n", size, path);
	if (write(fd, line, (size_t)count) != count)
		abort();
	close(fd);
}

static int sync_file(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	char link[64], path[4096];
	struct stat status;
	const char *hangs = getenv("SYNC_HANGS");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t count = readlink(link, path, sizeof(path) - 1);
	path[count > 0 ? count : 0] = 0;
	fstat(fd, &status);
	if (hangs && strstr(path, ".log") && access(hangs, F_OK) == 0) {
		say("hangs", 0);
		while (access(hangs, F_OK) == 0)
			poll(NULL, 0, 5);
	}
	int r = real(fd);
	if (r == 0 && S_ISREG(status.st_mode))
		say(path, (long long)status.st_size);
	return r;
}

int fdatasync(int fd) { return sync_file("fdatasync", fd); }
int fsync(int fd) { return sync_file("fsync", fd); }
"""


class Shim:
    def __init__(self, fleet):
        self.so = os.path.join(fleet.dir, "shim.so")
        self.log = os.path.join(fleet.dir, "synced")
        self.hangs = os.path.join(fleet.dir, "hangs")
        with open(self.so + ".c", "w", encoding="utf-8") as file:
            file.write(SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", self.so + ".c", "-o", self.so], check=True)
        # A sanitizer's run-time wants to be first; it is named before us.
        linked = subprocess.run(["ldd", f"{BIN}/profleet-aggregator"], capture_output=True, text=True, check=True).stdout
        sanitizers = re.findall(r"(/\S*lib(?:asan|tsan|ubsan)\S*)", linked)
        self.env = {"LD_PRELOAD": ":".join(sanitizers + [self.so]), "SYNC_LOG": self.log, "SYNC_HANGS": self.hangs}

    def lines(self):
        try:
            with open(self.log, encoding="utf-8") as log:
                return log.read().splitlines()
        except FileNotFoundError:
            return []

    def lose_power(self, data):
        """What was not synced is gone."""
        safe = {}
        for line in self.lines():
            size, path = line.split(" ", 1)
            safe[path] = int(size)
        lost = 0
        for name in os.listdir(data):
            path = os.path.join(data, name)
            if not os.path.isfile(path) or not re.search(r"\.(log|sst)$|^MANIFEST", name):
                continue
            size = os.path.getsize(path)
            # A file made under a temporary name was synced before it got its own.
            if size > safe.get(path, 0):
                lost += size - safe.get(path, 0)
                os.truncate(path, safe.get(path, 0))
        return lost


def write_folded(fleet, name, stacks, seed):
    """A file of distinct stacks with values of all sizes, and their sum."""
    rng = random.Random(seed)
    path = os.path.join(fleet.dir, name)
    total = 0
    with open(path, "w", encoding="utf-8") as file:
        for i in range(stacks):
            value = rng.randrange(1, 1 << rng.randrange(1, 30))
            total += value
            file.write(f"main;work{i % 97};{name} {i};{rng.randbytes(6).hex()} {value}\n")
    return path, total


def start_import(fleet, address, job, path, form="folded"):
    log = open(f"{fleet.dir}/{job}.log", "wb")
    process = subprocess.Popen([f"{BIN}/profleet", "--server", address, "import", path, "--format", form,
                                "--type", "work", "--label", f"job={job}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    fleet.undo.append(lambda: process.poll() is None and process.kill())
    return process


def finish_import(fleet, process, job):
    status = process.wait(240)
    with open(f"{fleet.dir}/{job}.log", encoding="utf-8") as log:
        check(status == 0, f"import of {job}: exit {status}: {log.read()}")


def job_sum(fleet, address, job):
    return sum(fleet.folded(address, f'{{job="{job}"}}', "--since", "1h").values())


def stored(aggregator):
    """Batches that this life of the aggregator has acknowledged."""
    import urllib.request
    with urllib.request.urlopen(aggregator.http + "/metrics", timeout=20) as page:
        return int(re.search(r"^profleet_sections_stored_total (\d+)", page.read().decode(), re.M).group(1))


def stream_over(fleet, end_one_life, lives, importers=4, env=None):
    """Importers that stream over many lives of an aggregator; every value counts once."""
    aggregator = Aggregator(fleet, options=["--push-bytes", "65536"], env=env)
    address, data = aggregator.address, aggregator.data
    jobs = {}
    for i in range(importers):
        path, total = write_folded(fleet, f"job{i}.folded", 30000, i)
        jobs[f"job{i}"] = (start_import(fleet, address, f"job{i}", path), total)

    ended = 0
    while ended < lives and any(process.poll() is None for process, _ in jobs.values()):
        # Whoever has not met an aggregator yet may rightly say that there is none.
        wait_for("everybody to be there", lambda: ended or aggregator.text().count("session-opened") >= importers)
        wait_for("something acknowledged", lambda: stored(aggregator) > 2 or
                 all(process.poll() is not None for process, _ in jobs.values()))
        end_one_life(aggregator)
        ended += 1
        aggregator = Aggregator(fleet, data=data, listen=address, options=["--push-bytes", "65536"], env=env)
    check(ended >= 3, f"only {ended} lives ended while importers streamed: too few to mean anything")
    for job, (process, _) in jobs.items():
        finish_import(fleet, process, job)
    for job, (_, total) in jobs.items():
        seen = job_sum(fleet, address, job)
        check(seen == total, f"{job}: {seen} of {total} after {ended} lives (off by {seen - total})")
    print(f"{len(jobs)} importers over {ended} lives: exact")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def kill_nine(fleet):
    stream_over(fleet, lambda aggregator: aggregator.kill(), 12)


def terminated(fleet):
    def stop(aggregator):
        status = aggregator.stop()
        check(status == 0, f"SIGTERM while importers stream: exit {status}")

    stream_over(fleet, stop, 8)


def power_loss(fleet):
    shim = Shim(fleet)
    lost = []

    def cut(aggregator):
        aggregator.kill()
        lost.append(shim.lose_power(aggregator.data))

    stream_over(fleet, cut, 8, env=shim.env)
    print("bytes that were not synced at each end:", lost)


def sync_that_hangs(fleet):
    """Nothing is acknowledged before its sync is back, and questions are answered meanwhile."""
    shim = Shim(fleet)
    aggregator = Aggregator(fleet, env=shim.env)
    path, total = write_folded(fleet, "held.folded", 100, 1)
    open(shim.hangs, "w", encoding="utf-8").close()
    held = start_import(fleet, aggregator.address, "held", path)
    wait_for("a sync that hangs", lambda: any("hangs" in line for line in shim.lines()))
    for _ in range(20):
        fleet.cli(aggregator.address, "top", '{job="held"}', "--since", "1h", status=None)
        check(held.poll() is None, "the import was told that it is durable before it was")
    check(stored(aggregator) == 0, "nothing is counted as stored before it is")
    os.unlink(shim.hangs)
    finish_import(fleet, held, "held")
    check(job_sum(fleet, aggregator.address, "held") == total, "and then it is there")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def imports_go_on(fleet):
    """A large import, as folded and as pprof, over a kill in its middle."""
    aggregator = Aggregator(fleet, options=["--push-bytes", "65536"])
    address, data = aggregator.address, aggregator.data
    path, total = write_folded(fleet, "large.folded", 40000, 9)
    first = start_import(fleet, address, "first", path)
    finish_import(fleet, first, "first")
    pprof = os.path.join(fleet.dir, "large.pb.gz")
    fleet.cli(address, "export", '{job="first"}', "--since", "1h", "-o", "pprof", "--out", pprof)

    for job, file, form in (("folded", path, "folded"), ("pprof", pprof, "pprof")):
        before = stored(aggregator)
        process = start_import(fleet, address, job, file, form)
        wait_for("its first part", lambda: stored(aggregator) > before + 1 or process.poll() is not None)
        running = process.poll() is None
        aggregator.kill()
        aggregator = Aggregator(fleet, data=data, listen=address, options=["--push-bytes", "65536"])
        finish_import(fleet, process, job)
        seen = job_sum(fleet, address, job)
        check(seen == total, f"{job}: {seen} of {total}")
        print(f"{job}: killed {'in the middle' if running else 'after its end'}, exact")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def folder_removed(fleet):
    """Nothing is acknowledged into a folder that is not there any more."""
    aggregator = Aggregator(fleet)
    path, total = write_folded(fleet, "one.folded", 200, 1)
    finish_import(fleet, start_import(fleet, aggregator.address, "one", path), "one")
    shutil.rmtree(aggregator.data)
    late = start_import(fleet, aggregator.address, "two", path)
    check(aggregator.process.wait(60) == 71, "the aggregator ends with 71")
    check("removed" in aggregator.text(), f"and says why: {aggregator.text()}")
    check(late.poll() is None, "the import was not told that it is kept")

    # With a folder again, the import goes on by itself.
    again = Aggregator(fleet, data=aggregator.data, listen=aggregator.address)
    finish_import(fleet, late, "two")
    check(job_sum(fleet, again.address, "two") == total, "what was sent later is whole")
    check(again.stop() == 0, "the aggregator stops with 0")


def silent_connections(fleet):
    """Six hundred connections that say nothing, and some that stop in the middle, cost others nothing;
    with too few file descriptors for them, all goes on when they are gone."""
    import resource
    import socket
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

    def fill(address, count, patience):
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        sockets = []
        try:
            for i in range(count):
                sockets.append(socket.create_connection((host, int(port)), timeout=patience))
                if i % 2:
                    sockets[-1].sendall(b"\x00SP\x00\x00\x30\x00\x00" + (4 << 20).to_bytes(8, "big") + b"\x80")
        except TimeoutError:
            pass  # not taken: nothing is left to take it with
        return sockets

    path, total = write_folded(fleet, "one.folded", 200, 1)
    aggregator = Aggregator(fleet)
    held = fill(aggregator.address, 600, 30)
    check(len(held) == 600, f"only {len(held)} connections were taken")
    finish_import(fleet, start_import(fleet, aggregator.address, "one", path), "one")
    check(job_sum(fleet, aggregator.address, "one") == total, "an honest sender is served beside them")
    check(aggregator.stop() == 0, "they do not hold up the end")
    for each in held:
        each.close()

    few = Aggregator(fleet, data=aggregator.data,
                     user=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    held = fill(few.address, 600, 3)
    check(len(held) < 600, "256 files take 600 connections")
    late = start_import(fleet, few.address, "two", path)
    for each in held:
        each.close()
    finish_import(fleet, late, "two")
    check(job_sum(fleet, few.address, "two") == total, "an honest sender is served after them")
    check(few.stop() == 0, "the aggregator stops with 0")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def wrong_bytes(fleet):
    """Each file of a store gets a wrong byte: an exact answer, a refusal with words, or a counted loss."""
    aggregator = Aggregator(fleet)
    total = 0
    for i in range(3):
        path, part = write_folded(fleet, f"part{i}.folded", 3000, i)
        finish_import(fleet, start_import(fleet, aggregator.address, "job", path), "job")
        total += part
        if i == 1:
            check(aggregator.stop() == 0, "a clean stop writes files")
            aggregator = Aggregator(fleet, data=aggregator.data)
    aggregator.kill()  # and this leaves a log
    good = aggregator.data
    kinds = {}
    for name in sorted(os.listdir(good)):
        path = os.path.join(good, name)
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        if size == 0 or name in ("LOCK", "LOG"):
            continue
        for at in sorted({0, 5, size // 3, size // 2, size - 1}):
            if at >= size:
                continue
            outcome = wrong_byte(fleet, good, name, at, total)
            kinds.setdefault(outcome, []).append(f"{name}:{at}")
    for outcome, places in kinds.items():
        print(f"{outcome}: {' '.join(places)}")
    check("refused" in kinds, "no wrong byte was ever noticed: the test flips nothing")


def wrong_byte(fleet, good, name, at, total):
    data = os.path.join(fleet.dir, "bad")
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(good, data)
    with open(os.path.join(data, name), "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))
    what = f"{name}, byte {at}"
    done = subprocess.run([f"{BIN}/profleet-aggregator", "--data", data, "--check-config"], check=False,
                          capture_output=True)
    check(done.returncode == 0, what)
    try:
        aggregator = Aggregator(fleet, data=data)
    except AssertionError:
        program = fleet.programs[-1]
        status = program.process.wait(60)
        text = program.text()
        check(status == 73 and data in text, f"{what}: refused with {status}:\n{text[-1500:]}")
        return "refused"
    asked = subprocess.run([f"{BIN}/profleet", "--server", aggregator.address, "export", "work", "-o", "folded",
                            "--since", "1h"], capture_output=True, text=True, check=False, timeout=120)
    check(aggregator.process.poll() is None, f"{what}: the aggregator ended: {aggregator.text()[-1500:]}")
    seen = sum(int(line.rsplit(" ", 1)[1]) for line in asked.stdout.splitlines())
    stopped = aggregator.stop()
    check(stopped in (0, 71), f"{what}: stops with {stopped}: {aggregator.text()[-1500:]}")
    if asked.returncode == 0 and seen == total:
        return "exact"
    if asked.returncode != 0 and not asked.stdout:
        check(asked.stderr.strip() != "", f"{what}: refused without a word")
        return "question refused"
    check(seen < total, f"{what}: {seen} is more than there ever was, {total}")
    check(re.search(r"damaged|corrupt|unreadable|missing", asked.stderr, re.I),
          f"{what}: {seen} of {total}, exit {asked.returncode}, and not a word of it: {asked.stderr!r}")
    return "counted loss"


if __name__ == "__main__":
    tests = (kill_nine, terminated, power_loss, sync_that_hangs, imports_go_on, folder_removed, silent_connections,
             wrong_bytes)
    for test in tests:
        if len(sys.argv) < 2 or test.__name__ in sys.argv[1:]:
            run(test)
