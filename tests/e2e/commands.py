"""The commands are a contract: every line printed for them is accepted as it stands, what is wrong has its
exit code and one line that says what to write instead, port 0 is picked and named, and a script or
systemd is told when a server is ready.

# timeout: 600 s
# holds: machine
"""

import glob
import json
import os
import re
import select
import signal
import socket
import subprocess

from lib_fleet import BIN, Agent, Aggregator, check, needs_root, run, wait_for

AT = "2026-01-01T00:00:00Z"
TO = "2026-01-01T01:00:00Z"
CART = 'cpu{service="cart",version=~"1\\\\..*"}'


def ask(fleet, *argv, status=0, env=None):
    """One command line; what it printed. A wrong one says one line, and no stack of ours."""
    done = subprocess.run([f"{BIN}/{argv[0]}", *argv[1:]], capture_output=True, text=True, check=False, timeout=60,
                          cwd=fleet.dir, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    check(done.returncode == status, f"{argv}: exit {done.returncode}, not {status}: {done.stdout}{done.stderr}")
    if status == 2:
        lines = done.stderr.strip().splitlines()
        check(0 < len(lines) <= 2 and lines[0].startswith(argv[0]),
              f"{argv}: one line on stderr: {done.stderr}")
    return done.stdout + done.stderr


def folded(fleet, name, text):
    with open(os.path.join(fleet.dir, name), "w", encoding="utf-8") as file:
        file.write(text)


def the_printed_lines_are_accepted(fleet):
    aggregator = Aggregator(fleet)
    server = {"PROFLEET_SERVER": aggregator.address}
    folded(fleet, "a.folded", "main;a b;c 10\nmain;d 5\n")
    folded(fleet, "b.folded", "main;a b;c 20\nmain;d 5\n")
    for name, version in (("a.folded", "1.8"), ("b.folded", "1.9")):
        ask(fleet, "profleet", "import", name, "--format", "folded", "--type", "cpu", "--label", "service=cart",
            "--label", f"version={version}", "--at", AT, "--duration", "10s", env=server)

    ask(fleet, "profleet", "export", CART, "--from", AT, "--to", TO, "-o", "pprof", "--out", "both.pprof", env=server)
    ask(fleet, "profleet", "import", "both.pprof", "--format", "pprof", "--type", "cpu", "--label", "again=yes",
        "--at", "2026-02-01T00:00:00Z", "--duration", "10s", env=server)

    for verb in ("top", "tree", "flame", "export"):
        ask(fleet, "profleet", verb, CART, "--from", AT, "--to", TO, "--limit", "0", "-o", "folded", "--out", verb,
            env=server)
        with open(os.path.join(fleet.dir, verb), encoding="utf-8") as file:
            check(sorted(file.read().splitlines()) == ["main;a b;c 30", "main;d 10"], f"{verb} -o folded has all rows")
        ask(fleet, "profleet", verb, CART, "--since", "1h", "--to", TO, "--limit", "1", "--out", "any", env=server)
        # The server by option, in front of the verb and behind it.
        ask(fleet, "profleet", "--server", aggregator.address, verb, CART, "--from", AT, "--to", TO, "--out", "any")
        ask(fleet, "profleet", verb, "--server", aggregator.address, CART, "--from", AT, "--to", TO, "--out", "any")
        ask(fleet, "profleet", verb, 'cpu{service="none"}', "--from", AT, "--to", TO, "--out", "any", status=6,
            env=server)

    sides = ('cpu{version="1.8"}', 'cpu{version="1.9"}')
    for ranges in (["--since", "1h", "--to", TO],
                   ["--a-from", AT, "--a-to", TO, "--b-from", AT, "--b-to", TO]):
        text = ask(fleet, "profleet", "diff", *sides, *ranges, env=server)
        check("no significance: series without the label instance" in text, f"the diff says that there is no significance: {text}")

    both = ["--from", AT, "--to", TO]
    for verb, argv in (("top", [CART, *both]), ("tree", [CART, *both]), ("diff", [*sides, *both]), ("series", both),
                       ("labels", both), ("labels", ["version", *both]), ("doctor", [])):
        document = json.loads(ask(fleet, "profleet", verb, *argv, "-o", "json", env=server))
        check(document["schema_version"] == 1, f"{verb}: {document}")
        described(document, verb)
        ask(fleet, "profleet", verb, *argv, env=server)

    ask(fleet, "profleet", "agents", env=server, status=6)  # importers are none

    check("configuration ok" in ask(fleet, "profleet-aggregator", "--data", "new", "--check-config"), "says it is ok")
    folded(fleet, "a.yaml", "listen: tcp://127.0.0.1:0\nhttp: 127.0.0.1:0\n")
    ask(fleet, "profleet-aggregator", "--data", "new", "--listen", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0",
        "--config", "a.yaml", "--check-config")
    check(not os.path.exists(os.path.join(fleet.dir, "new")), "--check-config makes nothing")
    ask(fleet, "profleet", "top", "cpu", status=5, env={"PROFLEET_SERVER": "tcp://127.0.0.1:1"})
    check(aggregator.stop() == 0, "stops with 0")


# Names an installation chooses: labels, counters, reasons of losses.
FREE = {"labels", "counters", "lost"}


def described(document, verb, path=""):
    """Every key of a JSON answer stands in docs/formats/json.md."""
    with open("docs/formats/json.md", encoding="utf-8") as file:
        words = set(re.findall(r"\w+", file.read()))
    if isinstance(document, list):
        for member in document:
            described(member, verb, path)
    if isinstance(document, dict):
        for key, member in document.items():
            check(key in words, f"{verb} -o json: {path}.{key} is not in docs/formats/json.md")
            if key not in FREE or isinstance(member, list):
                described(member, verb, f"{path}.{key}")


def what_is_wrong_is_said_in_one_line(fleet):
    folded(fleet, "x.folded", "main;f 1\n")
    for program, argvs in {
            "profleet": (["nonsense"], ["top"], ["top", "cpu", "extra"], ["top", "cpu", "--limit"], ["top", ""],
                         ["top", "cpu", "--limit", "-1"], ["top", "cpu", "--limit", "99999999999"],
                         ["top", "cpu", "--since", "yesterday"], ["top", "cpu", "--since", "-1h"],
                         ["top", "cpu", "--from", "now", "--to", "now-1h"], ["top", "cpu", "-o", "yaml"],
                         ["top", "cpu{"], ["top", "cpu{service=cart}"], ["top", 'cpu{a=~"("}'], ["diff", "cpu"],
                         ["import"], ["import", "x.folded", "--label", "novalue"], ["--server", "nonsense", "top", "cpu"],
                         ["import", "x.folded", "--format", "xml"], ["import", "x.folded", "--at", "never"],
                         ["--server", "tcp://127.0.0.1:99999", "top", "cpu"], ["--halp"], ["labels", "a", "b"]),
            "profleet-aggregator": ([], ["--data"], ["--data", ""], ["--data", "d", "extra"], ["--data", "d", "--listen",
                                     "x"],
                                    ["--data", "d", "--http", "x"], ["--data", "d", "--http", "127.0.0.1:0", "--halp"],
                                    ["--data", "d", "--ready-fd", "77"], ["--data", "d", "--ready-fd", "x"],
                                    ["--data", "d", "--config", "none.yaml", "--check-config"],
                                    ["--data", "d", "--http", "x", "--check-config"]),
            "profleet-agent": (["extra"], ["--hz", "0"], ["--hz", "1.5"], ["--hz"], ["--interval", "10"], ["--label", "x"],
                               ["--output", "x.txt", "--duration", "1s"], ["--output", "x.pprof"],
                               ["--aggregator", "x"], ["--config", "none.yaml"], ["--ready-fd", "77"])}.items():
        for argv in argvs:
            ask(fleet, program, *argv, status=2)
    check(not os.path.exists(os.path.join(fleet.dir, "d")), "a wrong command line makes nothing")


def help_teaches_by_example(fleet):
    verbs = re.findall(r"^    (\w+)  ", ask(fleet, "profleet", "--help"), re.M)
    check({"top", "tree", "flame", "export", "diff", "series", "labels", "agents", "doctor", "import"} <= set(verbs),
          f"--help lists the verbs: {verbs}")
    for argv in [["profleet"], ["profleet-agent"], ["profleet-aggregator"]] + [["profleet", verb] for verb in verbs]:
        text = ask(fleet, *argv, "--help")
        for word in ("Usage: ", "\nOptions:\n", "\nExamples:\n", "\nExit codes:\n"):
            check(word in text or argv[1:] == ["help"], f"{argv} --help has {word!r}: {text}")
        check(max(map(len, text.splitlines())) <= 110, f"{argv} --help is no wider than a terminal")
        check(ask(fleet, *argv, "--help-man").startswith(".TH "), f"{argv} --help-man is a page")


def notified(fleet, argv):
    """What systemd is told, up to READY=1, and until the end."""
    path = os.path.join(fleet.dir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(path)
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=fleet.dir,
                                   env={**os.environ, "NOTIFY_SOCKET": path})
        try:
            said = []
            while not any("READY=1" in text for text in said):
                readable, _, _ = select.select([end], [], [], 60)
                check(readable, f"{argv[0]} told nothing: {said}")
                said.append(end.recv(4096).decode())
            process.send_signal(signal.SIGTERM)
            check(process.wait(60) == 0, f"{argv[0]} ends with 0")
            while select.select([end], [], [], 0)[0]:
                said.append(end.recv(4096).decode())
        finally:
            process.kill()
            process.wait()
            os.unlink(path)
    return "\n".join(said)


def systemd_is_told(fleet):
    text = notified(fleet, [f"{BIN}/profleet-aggregator", "--data", "store", "--listen", "tcp://127.0.0.1:0", "--http",
                            "127.0.0.1:0"])
    check(re.search(r"STATUS=tcp://127\.0\.0\.1:[1-9]\d* http://127\.0\.0\.1:[1-9]", text), f"the bound addresses: {text}")
    check("STOPPING=1" in text, f"that it stops: {text}")
    needs_root()
    text = notified(fleet, [f"{BIN}/profleet-agent", "--aggregator", "tcp://127.0.0.1:1", "--stop-timeout", "0s",
                            "--state-dir", "."])
    check("READY=1" in text and "STOPPING=1" in text, f"of the agent too: {text}")


def the_agent_alone_writes_files(fleet):
    needs_root()
    for name in ("cpu.pprof", "cpu.folded"):
        text = ask(fleet, "profleet-agent", "--duration", "1s", "--output", name)
        check(re.search(r"\d+ samples at \d+ Hz", text), f"says what it saw: {text}")
        ask(fleet, "profleet", "top", name)
    check(not glob.glob(os.path.join(fleet.dir, "*.partial")), "nothing half is left")


def the_agent_takes_its_line(fleet):
    needs_root()
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", "49", "--interval", "1s", "--label", "region=eu", "--label", "team=x",
                                              "--spool", os.path.join(fleet.dir, "spool"), "--state-dir", fleet.dir])
    check(re.match(r"ready (bpf|perf) \d+", agent.ready_text), f"the agent says its tier and rate: {agent.ready_text}")
    server = {"PROFLEET_SERVER": aggregator.address}
    wait_for("a labelled series", lambda: any(
        series["labels"].get("team") == "x" and series["labels"].get("region") == "eu"
        for series in fleet.json(aggregator.address, "series", "cpu", status=None)["series"]))
    ask(fleet, "profleet", "agents", env=server)
    described(json.loads(ask(fleet, "profleet", "agents", "-o", "json", env=server)), "agents")
    check(agent.stop() == 0 and aggregator.stop() == 0, "both stop with 0")


if __name__ == "__main__":
    for test in (the_printed_lines_are_accepted, what_is_wrong_is_said_in_one_line, help_teaches_by_example,
                 systemd_is_told, the_agent_alone_writes_files, the_agent_takes_its_line):
        run(test)
