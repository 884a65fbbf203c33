"""A question that takes long says how far it is, on a terminal alone; Ctrl-C ends it in the aggregator too; and one
that needs more memory than a question may use is refused with the key and the remedy.

What makes it long is not the machine: the aggregator's reads of its files wait while a file is there.

# timeout: 300 s
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import urllib.request

from lib_fleet import BIN, Aggregator, check, run, wait_for

# Loaded into the aggregator: while the file named by READS_WAIT exists, each read of a table waits a moment.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_a_moment(int fd)
{
	char link[64], path[4096];
	const char *waits = getenv("READS_WAIT");
	if (!waits || access(waits, F_OK) != 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t count = readlink(link, path, sizeof(path) - 1);
	path[count > 0 ? count : 0] = 0;
	if (strstr(path, ".sst"))
		poll(NULL, 0, 100);
}

ssize_t pread(int fd, void *to, size_t count, off_t at)
{
	static ssize_t (*real)(int, void *, size_t, off_t);
	if (!real)
		real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	wait_a_moment(fd);
	return real(fd, to, count, at);
}

ssize_t pread64(int fd, void *to, size_t count, off_t at) { return pread(fd, to, count, at); }
"""

HOURS = 4
START_S = 1750000200
RANGE = ["--from", str(START_S), "--to", str(START_S + HOURS * 3600)]


WAITS = "reads-wait"


def aggregator_with_shim(fleet, folder):
    so = os.path.join(fleet.dir, "shim.so")
    with open(so + ".c", "w", encoding="utf-8") as file:
        file.write(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", so + ".c", "-o", so], check=True)
    # A sanitizer's run-time wants to be first; it is named before us.
    linked = subprocess.run(["ldd", f"{BIN}/profleet-aggregator"], capture_output=True, text=True, check=True).stdout
    sanitizers = re.findall(r"(/\S*lib(?:asan|tsan|ubsan)\S*)", linked)
    env = {"LD_PRELOAD": ":".join(sanitizers + [so]), "READS_WAIT": os.path.join(fleet.dir, WAITS)}
    return Aggregator(fleet, data=folder, options=["--block-cache", "4MiB"], env=env)


def slowed_down(fleet, folder, before):
    """The same again; from now on its reads wait."""
    check(before.stop() == 0, "stops with 0")
    path = os.path.join(fleet.dir, WAITS)
    if os.path.exists(path):
        os.unlink(path)
    aggregator = aggregator_with_shim(fleet, folder)
    with open(path, "wb"):
        return aggregator


def ask(address, *argv, until=None, key=b""):
    """With stderr and stdin on a terminal and stdout in a pipe: (stdout, terminal, wait status)."""
    leader, follower = pty.openpty()

    def own_terminal():
        os.setsid()
        os.set_inheritable(follower, True)
        os.close(os.open(os.ttyname(follower), os.O_RDWR))  # the first one opened becomes the controlling one

    process = subprocess.Popen([f"{BIN}/profleet", "--server", address, *argv], stdin=follower, stdout=subprocess.PIPE,
                               stderr=follower, preexec_fn=own_terminal, env={**os.environ, "TERM": "xterm"})
    out = seen = b""
    open_ends = {leader, process.stdout.fileno()}
    while process.stdout.fileno() in open_ends:
        for fd in select.select(list(open_ends), [], [])[0]:
            part = os.read(fd, 65536)
            if fd == leader:
                seen += part
            elif part:
                out += part
            else:
                open_ends.discard(fd)
        if until and re.search(until, seen):
            os.write(leader, key)
            until = None
    while select.select([leader], [], [], 0)[0]:
        seen += os.read(leader, 65536)
    status = process.wait()
    process.stdout.close()
    os.close(leader)
    os.close(follower)
    return out, seen.decode(errors="replace"), status


def metric(aggregator, name):
    with urllib.request.urlopen(aggregator.http + "/metrics") as page:
        return float(re.search(rf"^{name} (\S+)", page.read().decode(), re.M).group(1))


def shows_how_far_it_is_and_ends_when_told(fleet):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = os.path.join(fleet.dir, "store")
    subprocess.run([f"{BIN}/bench.fleet", "--services", "1", "--instances", "2", "--rows", "60", "--pool", "2000", "--duration",
                    f"{HOURS}h", "--start", str(START_S), "--store", folder], check=True, stdout=subprocess.DEVNULL)
    aggregator = aggregator_with_shim(fleet, folder)
    # One instance, which sums do not keep apart: rows of every window are read.
    instance = fleet.json(aggregator.address, "labels", "instance", *RANGE)["values"][0]["value"]
    question = ["top", f'cpu{{instance="{instance}"}}', *RANGE, "-o", "json"]
    quick = json.loads(fleet.cli(aggregator.address, *question))
    check(fleet.stderr == "", f"nothing is said where there is no terminal: {fleet.stderr!r}")

    # Opened anew, so that nothing of it is in memory.
    aggregator = slowed_down(fleet, folder, aggregator)
    out, seen, status = ask(aggregator.address, *question)
    drawn = [int(part) for part in re.findall(r"(\d+) %  \d+ s", seen)]
    print("per cent:", drawn)
    check(status == 0 and json.loads(out)["functions"] == quick["functions"], f"the answer is as ever: {status}")
    check(drawn == sorted(drawn) and len(set(drawn) - {0, 100}) >= 3, f"how far it is goes up by and by: {drawn}")
    check(seen.endswith("\r\x1b[K"), f"the line is gone in the end: {seen[-80:]!r}")

    aggregator = slowed_down(fleet, folder, aggregator)
    out, seen, status = ask(aggregator.address, *question, until=rb"[1-9]\d* %", key=b"\x03")
    check(status == -signal.SIGINT and out == b"", f"Ctrl-C ends it by its signal, not with {status}: {out[:80]}")
    wait_for("the aggregator to give it up", lambda: metric(aggregator, "profleet_queries_cancelled_total") == 1, 10)
    wait_for("nothing to be worked at", lambda: metric(aggregator, "profleet_queries_running") == 0, 10)
    os.unlink(os.path.join(fleet.dir, WAITS))
    again = fleet.json(aggregator.address, *question[:-2])
    check(again["functions"] == quick["functions"], "what is asked next is answered")
    check(aggregator.stop() == 0, "stops with 0")


def memory_of_a_question_has_a_bound(fleet):
    config = os.path.join(fleet.dir, "aggregator.yaml")

    def bound(text):
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"query-memory: {text}\n")

    bound("2MiB")
    aggregator = Aggregator(fleet, data=os.path.join(fleet.dir, "many"), options=["--config", config])
    address = aggregator.address
    for name, stacks in (("small", 100), ("large", 40000)):
        path = os.path.join(fleet.dir, name + ".folded")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"main;a{i % 7};b{i % 101};c{i} {i + 1}\n" for i in range(stacks))
        fleet.cli(address, "import", path, "--type", "cpu", "--label", f"service={name}")

    for verb, *more in (("export", "-o", "folded"), ("top",), ("tree",), ("flame", "--out", os.path.join(fleet.dir, "f.html"))):
        fleet.cli(address, verb, 'cpu{service="large"}', "--since", "1h", *more, status=None)
        said = fleet.stderr
        if verb == "export":
            check(said, "an export of 40,000 stacks finds room in 2 MiB: this test tests nothing")
        check(not said or ("query-memory" in said and "narrow" in said and "2MiB" in said),
              f"{verb}: names the key, its value and what to do: {said}")
    check(metric(aggregator, "profleet_queries_running") == 0, "it is over")
    small = fleet.folded(address, 'cpu{service="small"}', "--since", "1h")
    check(sum(small.values()) == 5050, f"what is small is answered beside it: {sum(small.values())}")

    bound("256MiB")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: " reloaded " in aggregator.text())
    large = fleet.folded(address, 'cpu{service="large"}', "--since", "1h")
    check(sum(large.values()) == 40000 * 40001 // 2, "with more memory all of it is answered")

    bound("1TiB")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for("the refusal", lambda: " reload-memory " in aggregator.text())
    wait_for("the end of it", lambda: aggregator.text().count(" reloaded ") == 2)
    large = fleet.folded(address, 'cpu{service="large"}', "--since", "1h")
    check(sum(large.values()) == 40000 * 40001 // 2, "what is refused leaves what was read before, not what it began with")
    check(aggregator.stop() == 0, "stops with 0")


if __name__ == "__main__":
    run(shows_how_far_it_is_and_ends_when_told)
    run(memory_of_a_question_has_a_bound)
