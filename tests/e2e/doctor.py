"""doctor: each thing that can be wrong with this host or the aggregator is made wrong, and doctor names it
and says what to do about it.

# timeout: 120 s
# holds: machine
"""

import json
import os
import subprocess

from lib_fleet import Aggregator, bin_for_all, check, needs_root, run, wait_for


def checks(fleet, address, *options, status=None, user=None):
    done = subprocess.run([f"{bin_for_all(fleet)}/profleet", "--server", address, "doctor", "-o", "json", *options],
                          capture_output=True, check=False, timeout=60, preexec_fn=user)
    if status is not None:
        check(done.returncode == status, f"exit {done.returncode}, not {status}: {done.stdout} {done.stderr}")
    answer = json.loads(done.stdout)
    for one in answer["checks"]:
        check((one["state"] == "ok") == (one["remedy"] == ""), f"a remedy where there is something to do: {one}")
    return {one["check"]: one for one in answer["checks"]}


def nobody():
    os.setgid(65534)
    os.setuid(65534)


def host(fleet):
    """Without rights, and without an aggregator."""
    needs_root()
    seen = checks(fleet, "tcp://127.0.0.1:1", "--host-only", status=0, user=nobody)
    check(not any(name.startswith("aggregator") for name in seen), f"--host-only: {list(seen)}")
    for name in ("capability.bpf", "capability.perfmon"):
        check(seen[name]["state"] == "warn" and "CAP_" in seen[name]["remedy"], f"{seen[name]}")
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
        paranoid = int(file.read())
    check(seen["perf.paranoid"]["state"] == ("ok" if paranoid <= 0 else "warn"), f"{paranoid}: {seen['perf.paranoid']}")

    seen = checks(fleet, "tcp://127.0.0.1:1", status=5)
    check(seen["aggregator.reachable"]["state"] == "fail" and "profleet-aggregator" in
          seen["aggregator.reachable"]["remedy"], f"{seen}")


def aggregator(fleet):
    """A disk that fills up, and a clock that is elsewhere."""
    needs_root()
    small = os.path.join(fleet.dir, "small")
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small], check=False).returncode:
        print("no mount here: the disk is left out")
        return
    fleet.undo.append(lambda: subprocess.run(["umount", "-l", small], check=False))
    server = Aggregator(fleet, data=os.path.join(small, "data"))
    seen = checks(fleet, server.address, status=0)
    check(seen["aggregator.disk"]["state"] == "ok", f"{seen['aggregator.disk']}")
    check(seen["aggregator.clock"]["state"] == "ok", f"{seen['aggregator.clock']}")
    check(seen["agents.reporting"]["state"] == "warn", f"{seen['agents.reporting']}")

    stat = os.statvfs(small)
    for part, state in ((0.05, "warn"), (0.01, "fail")):
        free = int(stat.f_blocks * stat.f_frsize * part)
        with open(os.path.join(small, "fill"), "wb") as file:
            size = os.statvfs(small).f_bavail * stat.f_frsize - free
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        wait_for(f"aggregator.disk to be {state}",
                 lambda wanted=state: checks(fleet, server.address)["aggregator.disk"]["state"] == wanted, 20)
    seen = checks(fleet, server.address, status=5)
    check("make room" in seen["aggregator.disk"]["remedy"], f"{seen['aggregator.disk']}")


if __name__ == "__main__":
    run(host)
    run(aggregator)
