"""The CLI on a terminal: pager, colour, the progress line, and what Ctrl-C leaves. Each runs under a
pseudo-terminal of its own; the end of the program's output is waited for, never a time.

# timeout: 120 s
"""

import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import termios

from lib_fleet import BIN, check, run

TALL = b"".join(b"main;f%03d %d\n" % (i, i + 1) for i in range(200))


def on_terminal(argv, rows=24, columns=80, env=None, until=None, key=b""):
    """Runs on a terminal of that size; sends `key` once `until` was seen. (output, wait status)"""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(follower)

    def own_terminal():
        os.setsid()
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

    clean = {name: value for name, value in os.environ.items()
             if name not in ("PAGER", "NO_COLOR", "CLICOLOR_FORCE", "PROFLEET_SERVER")}
    with subprocess.Popen([f"{BIN}/profleet", *argv], stdin=follower, stdout=follower, stderr=follower,
                          preexec_fn=own_terminal, env={**clean, "TERM": "xterm", **(env or {})}) as process:
        out = b""
        while True:
            readable, _, _ = select.select([leader], [], [], 0.1)
            if readable:
                out += os.read(leader, 65536)
            elif process.poll() is not None:
                break
            if until and until in out:
                os.write(leader, key)
                until = None
    check(termios.tcgetattr(follower) == before, "the terminal is as it was")
    os.close(leader)
    os.close(follower)
    return out.decode(errors="replace"), process.returncode


def silent_server(fleet):
    """Takes connections and says nothing, like an aggregator that hangs."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(9)
    fleet.undo.append(server.close)
    return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def pager(fleet):
    path = os.path.join(fleet.dir, "tall.folded")
    with open(path, "wb") as file:
        file.write(TALL)
    top = ["top", path, "--limit", "0", "--color", "never"]
    marked = {"PAGER": "sh -c 'head -n 1; echo the pager was here'"}

    out, code = on_terminal(top, env=marked)
    check(code == 0 and "the pager was here" in out and "f199" not in out, f"quotes in $PAGER: {out[-300:]}")
    out, code = on_terminal(top, rows=600, env=marked)
    check(code == 0 and "the pager" not in out and "f199" in out, "what fits needs no pager")
    out, code = on_terminal([*top, "--no-pager"], env=marked)
    check("the pager" not in out and "f000" in out, "--no-pager")
    for missing in ("/no/such/pager", "/no/such/pager -R | cat 2>&1; exit 127", "cat"):
        out, code = on_terminal(top, env={"PAGER": missing})
        check(code == 0 and "f000" in out and "all 201 functions shown" in out, f"PAGER={missing}: {out[-300:]}")
    out, code = on_terminal(top, env={"PAGER": "true"})
    check(code == 0 and "f000" not in out, f"a pager that is left at once is no failure: {code} {out[-300:]}")


def colour(fleet):
    path = os.path.join(fleet.dir, "a.folded")
    with open(path, "wb") as file:
        file.write(b"a;b 1\n")
    for env, options, coloured in (({}, [], True), ({"NO_COLOR": "1"}, [], False), ({"NO_COLOR": ""}, [], True),
                                   ({"TERM": "dumb"}, [], False), ({"NO_COLOR": "1"}, ["--color", "always"], True),
                                   ({}, ["--color", "never"], False)):
        out, _ = on_terminal(["top", path, *options], env=env)
        check(("\x1b[" in out) == coloured, f"{env} {options}: {out!r}")
    for width in (30, 60, 79):
        with open(path, "wb") as file:
            file.write(b"a;" + b"x" * 500 + b" 1\n")
        out, _ = on_terminal(["top", path, "--color", "never"], columns=width)
        row = next(line for line in out.split("\r\n") if "xxx" in line)
        check(len(row) <= max(width, 60), f"{width} columns: a row of {len(row)}: {row}")


def progress(fleet):
    server = silent_server(fleet)
    out, code = on_terminal(["--server", server, "top", "cpu"], columns=30)
    check(code == 5 and "waiting for" in out, f"{code}: {out!r}")
    drawn = [part for part in out.split("\r\x1b[K") if "waiting" in part]
    check(drawn and all(len(part) < 30 for part in drawn), f"a line that wraps cannot be wiped: {drawn}")
    check("\r\x1b[Kprofleet: no aggregator" in out, f"the line is gone before anything else is said: {out!r}")

    made = os.path.join(fleet.dir, "cart.html")
    for argv in (["top", "cpu"], ["flame", "cpu", "--out", made], ["doctor"]):
        out, code = on_terminal(["--server", server, *argv], until=b"waiting for", key=b"\x03")
        check(code == -2, f"{argv}: Ctrl-C ends it by its signal, not with {code}: {out!r}")
    check(not any(name.startswith("cart") for name in os.listdir(fleet.dir)), "no partial file")


if __name__ == "__main__":
    run(pager)
    run(colour)
    run(progress)
