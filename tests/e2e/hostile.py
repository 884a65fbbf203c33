"""Hostile and broken input each gives one clear error or a counted refusal, and after it everything goes
on: broken messages on the wire, a data folder that is unreadable, a file, or in use, a port in use, an agent
without capabilities.
"""

import os
import pwd
import random
import re
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request

from lib_fleet import BIN, Aggregator, bin_for_all, check, needs_root, run, wait_for

SP_REQ = b"\x00SP\x00" + struct.pack(">HH", 48, 0)
SP_REP = b"\x00SP\x00" + struct.pack(">HH", 49, 0)


def receive(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def connect(address):
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=10)
    sock.sendall(SP_REQ)
    receive(sock, 8)
    return sock


def send(sock, body, length=None):
    frame = struct.pack(">I", 0x80000001) + body
    sock.sendall(struct.pack(">Q", len(frame) if length is None else length) + frame)


def ask(address, body):
    """The reply's bytes, or None when the connection was closed instead."""
    with connect(address) as sock:
        send(sock, body)
        try:
            (count,) = struct.unpack(">Q", receive(sock, 8))
            return receive(sock, count)[4:]
        except (ConnectionError, socket.timeout):
            return None


def record_request(fleet):
    """A real request of the CLI, caught by a server that never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    caught = {}

    def serve():
        sock, _ = server.accept()
        with sock:
            receive(sock, 8)
            sock.sendall(SP_REP)
            (count,) = struct.unpack(">Q", receive(sock, 8))
            caught["body"] = receive(sock, count)[4:]

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    client = subprocess.Popen([f"{BIN}/profleet", "--server", address, "series", "cpu"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    thread.join(30)
    client.kill()
    client.wait()
    server.close()
    check("body" in caught, "the CLI sent nothing to the recording server")
    return caught["body"]


def metric(aggregator, name):
    with urllib.request.urlopen(aggregator.http + "/metrics", timeout=10) as page:
        text = page.read().decode()
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\d+)", text, re.M)
    check(found, f"no metric {name} in:\n{text[:1500]}")
    return int(found.group(1))


def broken_messages(fleet):
    aggregator = Aggregator(fleet)
    good = record_request(fleet)
    check(ask(aggregator.address, good), "a whole request is answered")

    rng = random.Random(3)
    broken = {"empty": b"", "junk": bytes(rng.randbytes(300)), "zeroes": bytes(200),
              "newer version": good[:4] + b"\xff\x7f" + good[6:], "wrong magic": b"XXXX" + good[4:],
              "trailing bytes": good + b"x"}
    for cut in range(1, len(good), max(1, len(good) // 12)):
        broken[f"cut at {cut}"] = good[:cut]
    for _ in range(24):
        at = rng.randrange(len(good))
        broken[f"bit flipped at {at}"] = good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1:]
    for at in range(16, min(32, len(good) - 4), 4):
        broken[f"huge number at {at}"] = good[:at] + b"\xff\xff\xff\xff" + good[at + 4:]
    for what, body in broken.items():
        reply = ask(aggregator.address, body)
        check(reply is None or reply != ask(aggregator.address, good), f"{what}: answered as if it were right")
        check(aggregator.process.poll() is None, f"{what}: the aggregator ended")

    # Lengths that lie, connections that end in the middle: nothing is allocated, others go on.
    for length in (0xFFFFFFFFFFFFFFF0, 1 << 40, 64 << 20):
        with connect(aggregator.address) as sock:
            try:
                send(sock, good, length)
                sock.recv(1)
            except (ConnectionError, socket.timeout):
                pass
    for _ in range(20):
        socket.create_connection(aggregator.address.removeprefix("tcp://").rsplit(":", 1), timeout=5).close()
    check(ask(aggregator.address, good), "after all that, a whole request is answered")
    refused = metric(aggregator, "profleet_messages_refused_total")
    check(refused >= 10, f"refusals are counted, not {refused}")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def start_fails(fleet, argv, status, *words, user=None):
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, text=True, preexec_fn=user)
    text = done.stdout + done.stderr
    check(done.returncode == status, f"{argv[1:]}: exit {done.returncode}, not {status}: {text}")
    for word in words:
        check(word in text, f"{argv[1:]}: says {word!r}: {text}")


def folders_and_ports(fleet):
    aggregator = Aggregator(fleet)
    program = f"{BIN}/profleet-aggregator"
    free = ["--listen", "tcp://127.0.0.1:0", "--http", "off"]
    other = os.path.join(fleet.dir, "other")

    start_fails(fleet, [program, "--data", aggregator.data, *free], 73, aggregator.data, "use")
    start_fails(fleet, [program, "--data", other, "--http", "off", "--listen", aggregator.address], 75,
                aggregator.address)
    start_fails(fleet, [program, "--data", other, "--listen", "tcp://127.0.0.1:0",
                        "--http", aggregator.http.removeprefix("http://")], 75)
    file = os.path.join(fleet.dir, "file")
    with open(file, "w", encoding="utf-8") as out:
        out.write("not a folder")
    start_fails(fleet, [program, "--data", file, *free], 73, file)
    start_fails(fleet, [program, *free], 2, "--data")
    start_fails(fleet, [program, "--data", other, "--listen", "nonsense"], 2, "nonsense")
    start_fails(fleet, [program, "--data", other, "--lissten", "x"], 2, "--listen")

    config = os.path.join(fleet.dir, "aggregator.yaml")
    with open(config, "w", encoding="utf-8") as out:
        out.write(f"data: {other}\nquery-thread: 3\n")
    start_fails(fleet, [program, "--config", config, "--check-config"], 2, config + ":2", "query-threads")
    with open(config, "w", encoding="utf-8") as out:
        out.write(f"data: {other}\nquery-threads: 3\n")
    start_fails(fleet, [program, "--config", config, "--check-config"], 0)

    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")

        def become_nobody():
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)

        os.chmod(fleet.dir, 0o755)
        locked = os.path.join(fleet.dir, "locked")
        os.mkdir(locked, 0o700)
        start_fails(fleet, [f"{bin_for_all(fleet)}/profleet-aggregator", "--data", locked, *free], 73, locked,
                    user=become_nobody)

    # The CLI without an aggregator, and against one that vanished.
    gone = aggregator.address
    aggregator.stop()
    fleet.cli(gone, "top", "cpu", status=5)
    check(gone in fleet.stderr and "profleet-aggregator" in fleet.stderr, f"says where and what to do: {fleet.stderr}")


def agent_without_rights(fleet):
    needs_root()
    nobody = pwd.getpwnam("nobody")

    def become_nobody():
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)

    os.chmod(fleet.dir, 0o777)
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
        paranoid = int(file.read())
    if paranoid < 1:
        print("perf_event_paranoid lets everyone sample here: nothing is missing")
        return
    done = subprocess.run([f"{bin_for_all(fleet)}/profleet-agent", "--duration", "1s", "--output",
                           os.path.join(fleet.dir, "out.folded")], capture_output=True, timeout=60, check=False, text=True,
                          preexec_fn=become_nobody)
    text = done.stdout + done.stderr
    check(done.returncode not in (0, -6, -11, 134, 139), f"exit {done.returncode}: {text}")
    for word in ("CAP_BPF", "CAP_PERFMON"):
        check(word in text, f"says that {word} is missing: {text}")


def full_disk(fleet):
    needs_root()
    image, mount = os.path.join(fleet.dir, "disk"), os.path.join(fleet.dir, "mnt")
    os.mkdir(mount)
    with open(image, "wb") as file:
        file.truncate(96 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False).returncode != 0:
        from lib_fleet import skip
        skip("loop mounts are not allowed here")
    fleet.undo.append(lambda: subprocess.run(["umount", "-l", mount], check=False))

    aggregator = Aggregator(fleet, data=os.path.join(mount, "data"))
    rng = random.Random(5)

    def import_some(name, stacks, status=0):
        path = os.path.join(fleet.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            for _ in range(stacks):
                file.write(f"main;{rng.randbytes(24).hex()};{rng.randbytes(24).hex()} 1\n")
        fleet.cli(aggregator.address, "import", path, "--format", "folded", "--type", "cpu", "--label",
                  f"job={name}", status=status, seconds=200)

    import_some("before", 1000)
    # A ballast leaves a little room, and imports fill that.
    stat = os.statvfs(mount)
    ballast = os.path.join(mount, "ballast")
    with open(ballast, "wb") as file:
        left = stat.f_bavail * stat.f_frsize - (2 << 20)
        file.write(b"\0" * left)
        os.fsync(file.fileno())
    path = os.path.join(fleet.dir, "filler.folded")
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(150000):
            file.write(f"main;{rng.randbytes(24).hex()};{rng.randbytes(24).hex()} 1\n")
    filler = subprocess.Popen([f"{BIN}/profleet", "--server", aggregator.address, "import", path, "--format",
                               "folded", "--type", "cpu", "--label", "job=filler"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    fleet.undo.append(lambda: (filler.kill(), filler.wait()))

    def health():
        try:
            with urllib.request.urlopen(aggregator.http + "/healthz", timeout=10) as page:
                return page.read().decode()
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"

    def metric(name):
        with urllib.request.urlopen(aggregator.http + "/metrics", timeout=10) as page:
            return int(re.search(rf"^{name} (\d+)$", page.read().decode(), re.M).group(1))

    seen = wait_for("a health that says the disk is full", lambda: (lambda h: h if "full" in h else None)(health()), 120)
    print("while full:", seen.strip())
    check(seen.startswith("503") and mount in seen and "make room" in seen, f"what, where and what to do: {seen}")
    check(metric("profleet_group_commit_failures_total") > 0 and metric("profleet_healthy") == 0, "it is counted")
    # What is asked for and needs room is refused in words, and is in nobody's way.
    told = fleet.cli(aggregator.address, "backup", "create", "full", status=None) + fleet.stderr
    print("a backup while full:", told.strip())
    check(" files, " in told or "room" in told, told)  # links alone, or words
    # Queries go on.
    rows = fleet.folded(aggregator.address, '{job="before"}', "--since", "1h")
    check(sum(rows.values()) == 1000, "what was acknowledged is answered while the disk is full")

    os.unlink(ballast)
    wait_for("health without hands once there is room", lambda: health().startswith("ok"), 120)
    check(filler.wait(120) == 0, f"the import that met the full disk went on: {filler.stdout.read().decode()}")
    rows = fleet.folded(aggregator.address, '{job="filler"}', "--since", "1h")
    check(sum(rows.values()) == 150000, f"nothing lost, nothing twice: {sum(rows.values())} of 150000")
    import_some("after", 1000)
    fleet.cli(aggregator.address, "backup", "create", "after")
    check("every byte" in fleet.cli(aggregator.address, "backup", "verify", "after"), "a backup once there is room")
    check(metric("profleet_healthy") == 1, "healthy, and still the same process")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


if __name__ == "__main__":
    for test in (broken_messages, folders_and_ports, agent_without_rights, full_disk):
        run(test)
