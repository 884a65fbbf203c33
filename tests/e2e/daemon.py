"""The aggregator as a daemon: reloads what may change, says what it does in text or JSON, is healthy and
counts, drains at SIGTERM, and answers again after it was killed.
"""

import json
import os
import signal
import urllib.error
import urllib.request

from lib_fleet import Aggregator, check, run, wait_for

AT = ["--at", "2026-01-01T00:10:00Z", "--duration", "10s"]
HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def page(aggregator, path):
    with urllib.request.urlopen(aggregator.http + path, timeout=10) as answer:
        return answer.status, answer.read().decode()


def reloads_what_may_change(fleet):
    config = write(os.path.join(fleet.dir, "aggregator.yaml"), "log-level: warn\nquery-memory: 64MiB\n")
    aggregator = Aggregator(fleet, options=["--config", config])
    check("listening" not in aggregator.text(), "log-level: warn hides info")

    write(config, "log-level: info\nquery-memory: 128MiB\n")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: " reloaded " in aggregator.text())

    write(config, "log-level: loud\n")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for("the refusal", lambda: " reload-failed " in aggregator.text())
    check(config + ":1" in aggregator.text() and "loud" in aggregator.text(), "names the file, line and value")
    check(page(aggregator, "/healthz")[0] == 200, "goes on as before")
    check(aggregator.stop() == 0, "stops with 0")


def logs_counts_and_health(fleet):
    aggregator = Aggregator(fleet, options=["--log-format", "json"])
    path = write(os.path.join(fleet.dir, "a.folded"), "main;f 3\nmain;g 4\n")
    fleet.cli(aggregator.address, "import", path, "--format", "folded", "--type", "cpu", *AT)
    check(page(aggregator, "/healthz") == (200, "ok\n"), "healthy")
    status, text = page(aggregator, "/metrics")
    check(status == 200 and "profleet_rows_stored_total 2" in text and "profleet_healthy 1" in text,
          f"counts what was stored: {text[:1500]}")
    for line in text.splitlines():
        check(line.startswith(("# HELP profleet_", "# TYPE profleet_", "profleet_")), f"a metric of ours: {line}")
    try:
        page(aggregator, "/nonsense")
        check(False, "an unknown page is refused")
    except urllib.error.HTTPError as error:
        check(error.code == 404, f"404, not {error.code}")
    check(aggregator.stop() == 0, "stops with 0")
    events = [json.loads(line) for line in aggregator.text().splitlines()]
    check([e["event"] for e in events][-2:] == ["stopping", "stopped"], f"says how it ended: {events[-2:]}")


def remembers_after_a_kill(fleet):
    aggregator = Aggregator(fleet)
    path = write(os.path.join(fleet.dir, "a.folded"), "main;f 3\nmain;g 4\n")
    fleet.cli(aggregator.address, "import", path, "--format", "folded", "--type", "cpu", *AT)
    aggregator.kill()
    again = Aggregator(fleet, data=aggregator.data)
    check(fleet.folded(again.address, "cpu", *HOUR) == {"main;f": 3, "main;g": 4}, "what was acknowledged is there")
    fleet.cli(again.address, "import", path, "--format", "folded", "--type", "cpu", "--label", "job=2", *AT)
    check(fleet.folded(again.address, "cpu", *HOUR) == {"main;f": 6, "main;g": 8}, "two imports are two")
    series = fleet.json(again.address, "series", "cpu", *HOUR)
    check(series["schema_version"] == 1 and len(series["series"]) == 2, f"two series: {series}")
    check(again.stop() == 0, "stops with 0")


if __name__ == "__main__":
    for test in (reloads_what_may_change, logs_counts_and_health, remembers_after_a_kill):
        run(test)
