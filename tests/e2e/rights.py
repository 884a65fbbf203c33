"""The agent as a user of its own with few rights: it takes what is granted, and says in one line each what is
missing and what to grant.

# holds: machine
"""

import os
import subprocess

from lib_fleet import BIN, bin_for_all, check, have, needs_root, run, skip

SYSCTL = "/proc/sys/kernel/"


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def agent(fleet, rights, *options, prefix=()):
    caps = ",".join(["-all", *("+" + right for right in rights)])
    out = os.path.join(fleet.dir, "out.folded")
    done = subprocess.run([*prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=" + caps,
                           "--ambient-caps=" + caps, "--bounding-set=" + caps, "--", f"{bin_for_all(fleet)}/profleet-agent",
                           "--duration", "500ms", "--output", out, *options],
                          capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def every_missing_right_is_said(fleet):
    needs_root()
    if not have("setpriv"):
        skip("needs setpriv of util-linux")
    if int(read(SYSCTL + "perf_event_paranoid")) < 1:
        skip("kernel.perf_event_paranoid lets everyone sample here: nothing is missing")
    os.chmod(fleet.dir, 0o777)
    sampling = ("bpf", "perfmon")
    everything = (*sampling, "syslog", "sys_ptrace", "checkpoint_restore", "dac_read_search")
    cases = [
        # Rights, options, exit status, what is said, what is not.
        ((), (), 77, ["CAP_BPF", "CAP_PERFMON", "sampling-not-possible"], ["tier perf", "tier bpf,"]),
        (("bpf",), (), 77, ["grant CAP_PERFMON"], []),
        (("perfmon",), (), 0, ["tier-bpf-missing", "CAP_BPF", "tier perf,"], []),
        (("perfmon",), ("--tier", "bpf"), 77, ["CAP_BPF"], ["tier perf,"]),
        (sampling, (), 0, ["tier bpf,", "kernel-names-hidden", "CAP_SYSLOG", "processes-hidden", "CAP_SYS_PTRACE",
                           "deleted-files-hidden", "CAP_CHECKPOINT_RESTORE", "files-unreadable",
                           "CAP_DAC_READ_SEARCH"], ["tier-bpf-missing"]),
        (sampling, ("--tier", "perf"), 0, ["tier perf,"], ["tier-bpf-missing"]),
        (everything, (), 0, ["tier bpf,"], ["CAP_", "-hidden", "-missing", "-unreadable"]),
    ]
    for rights, options, status, said, unsaid in cases:
        code, text = agent(fleet, rights, *options)
        check(code == status, f"{rights} {options}: exit {code}, not {status}: {text}")
        for word in said:
            check(word in text, f"{rights} {options}: says {word!r}: {text}")
        for word in unsaid:
            check(word not in text, f"{rights} {options}: does not say {word!r}: {text}")
        for event in ("processes-hidden", "kernel-names-hidden", "deleted-files-hidden"):
            check(text.count(event) <= 1, f"{event} is said once: {text}")


def another_pid_namespace(fleet):
    """There the agent cannot know who others are: it says so and calls them [hidden], never by a wrong name."""
    needs_root()
    out = os.path.join(fleet.dir, "out.folded")
    burn = subprocess.Popen(["sh", "-c", "while :; do ls / > /dev/null; done"])
    fleet.undo.append(lambda: (burn.kill(), burn.wait()))
    argv = ["unshare", "-pf", "--mount-proc", f"{BIN}/profleet-agent", "--duration", "1s", "--output", out]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    check(done.returncode == 0 and "hostPID" in done.stderr, f"takes the next tier and says why: {done.stderr}")
    with open(out, encoding="utf-8") as file:
        names = {line.split(";")[0].rsplit(" ", 1)[0] for line in file}
    check("[hidden]" in names and not names & {"sh", "ls"}, f"who is not known has no name: {names}")


if __name__ == "__main__":
    for test in (every_missing_right_is_said, another_pid_namespace):
        run(test)
