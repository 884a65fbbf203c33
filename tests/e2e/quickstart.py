"""The tour of deploy/quickstart works from a checkout: twice, two at once, and where the machine grants
nothing, on the recorded fleet; and it leaves nothing running.

# timeout: 900 s
# holds: machine
"""

import os
import pwd
import re
import shutil
import signal
import subprocess

from lib_fleet import SOURCE, check, needs_root, open_to_all, run, wait_for

QUICKSTART = os.path.join(SOURCE, "deploy", "quickstart")


def start(fleet, name, *options, env=None, user=None, quickstart=QUICKSTART):
    folder = os.path.join(fleet.dir, name)
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    return subprocess.Popen([quickstart, "--seconds", "8", *options], stdin=subprocess.DEVNULL, cwd=folder, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env={**os.environ, "NO_COLOR": "1", **(env or {})},
                            preexec_fn=user), folder


def finish(process, folder, diff=True):
    text = process.communicate(timeout=600)[0]
    check(process.returncode == 0, f"exit {process.returncode}:\n{text}")
    check("parse_json" in text or not diff, f"the tour shows parse_json:\n{text}")
    if diff:
        check(re.search(r"(?m) pp .* parse_json\b", text), f"the diff has a row for parse_json:\n{text}")
    page = re.search(r"file://(\S+\.html)", text)
    check(page and page.group(1).startswith(folder), f"a flame graph in the folder of the caller:\n{text}")
    with open(page.group(1), encoding="utf-8") as file:
        check(len(file.read()) > 10000, "the page is more than a stub")
    return text


def the_tour_works_alone_and_beside_another(fleet):
    needs_root()
    text = finish(*start(fleet, "first"))
    print(text[-1500:])
    others = [start(fleet, "second"), start(fleet, "third", "--no-demo")]
    finish(*others[0])
    text = finish(*others[1], diff=False)
    check("diff" not in re.sub(r"(?s)== .*?done", "", text) or "parse_json" not in text, "--no-demo shows no demo")


def ctrl_c_stops_everything(fleet):
    """Where it hurts most: while the agent starts, and while the fleet runs. The build is there by now."""
    needs_root()
    for word in ("aggregator: ", "running the demo fleet"):
        temporary = os.path.join(fleet.dir, word[:4])
        os.mkdir(temporary)
        # A terminal sends the signal to all processes of the group.
        process, _ = start(fleet, word, "--seconds", "60", env={"TMPDIR": temporary, "PROFLEET_QUICKSTART_BUILT": "1"},
                           user=os.setpgrp)
        text = ""
        while word not in text:
            line = process.stdout.readline()
            check(line, f"ended before {word!r}:\n{text}")
            text += line
        os.killpg(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
        check(process.returncode == 130, f"exit {process.returncode}:\n{text}{rest}")
        check(os.listdir(temporary) == [], f"the temporary folder is gone: {os.listdir(temporary)}")
        check(not left_running(temporary), f"still running: {left_running(temporary)}")


def kept_it_goes_on_until_it_is_stopped(fleet):
    needs_root()
    data = os.path.join(fleet.dir, "kept data")
    for _ in range(2):  # the second time on the store of the first
        process, folder = start(fleet, "kept", "--keep", "--no-demo", "--data", data, "--seconds", "3",
                                env={"PROFLEET_QUICKSTART_BUILT": "1"})
        text = finish(process, folder, diff=False)
        pids = re.search(r"^  kill (\d+) (\d+) ", text, re.M)
        check(pids, f"says how to stop both:\n{text}")
        server = re.search(r"PROFLEET_SERVER=(\S+)", text).group(1)
        fleet.cli(server, "top", "cpu", "--since", "5m")
        for pid in pids.groups():
            os.kill(int(pid), signal.SIGTERM)
        wait_for("both are gone", lambda: not left_running(data))
        os.unlink(re.search(r"file://(.+\.html)", text).group(1))
        os.rmdir(folder)
    check(os.path.isdir(os.path.join(data, "store")), "the data stays")


def left_running(folder="profleet-quickstart-"):
    found = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True, check=False)
    return found.stdout.split()


def nothing_is_left(fleet):
    check(not left_running(), f"still running after the tour: {left_running()}")


def wrong_arguments_are_refused(fleet):
    for argv, word in ((["--sekonds"], "--sekonds"), (["--seconds", "soon"], "soon"), (["--seconds"], "--seconds"),
                       (["--data"], "--data"), (["--data="], "--data"), (["--seconds", "0"], "0")):
        done = subprocess.run([QUICKSTART, *argv], capture_output=True, text=True, check=False, timeout=60)
        check(done.returncode == 2 and word in done.stderr, f"{argv}: {done.returncode} {done.stderr}")
    done = subprocess.run([QUICKSTART, "--help"], capture_output=True, text=True, check=False, timeout=60)
    check(done.returncode == 0 and "--keep" in done.stdout, "--help explains")


def without_rights_the_tour_runs_on_the_recorded_fleet(fleet):
    needs_root()
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
        if int(file.read()) < 1:
            print("perf_event_paranoid lets everyone sample here: the recorded tour has no occasion")
            return
    nobody = pwd.getpwnam("nobody")

    def become_nobody():
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)

    os.chmod(fleet.dir, 0o755)
    # Everything was built by the runs above; nobody may not write there and need not, but must get there.
    source = SOURCE
    if not open_to_all(source):
        source = os.path.join(fleet.dir, "checkout")
        for part in ("deploy", "build/release/bin"):
            shutil.copytree(os.path.join(SOURCE, part), os.path.join(source, part))
    process, folder = start(fleet, "recorded", user=become_nobody, quickstart=os.path.join(source, "deploy/quickstart"),
                            env={"HOME": fleet.dir, "PROFLEET_QUICKSTART_BUILT": "1"})
    text = finish(process, folder)
    check("recorded" in text and "CAP_BPF" in text and "CAP_PERFMON" in text,
          f"says what would have to be granted, and that the data is recorded:\n{text}")


if __name__ == "__main__":
    for test in (wrong_arguments_are_refused, the_tour_works_alone_and_beside_another, nothing_is_left,
                 ctrl_c_stops_everything, kept_it_goes_on_until_it_is_stopped,
                 without_rights_the_tour_runs_on_the_recorded_fleet):
        run(test)
