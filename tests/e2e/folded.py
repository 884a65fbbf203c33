"""A service that never says the same twice: what is kept at a caller is told by every answer that has it, by its
reason, and by doctor; also after a restart.

# timeout: 120 s
"""

import os

from lib_fleet import Aggregator, check, run

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
# Two stacks are known when the third comes; what follows is of main.
WILD = "main;a 10\nmain;b 10\n" + "".join(f"main;new_{i} 2\n" for i in range(15))


def folded_by_service_stacks(fleet):
    options = ["--service-stacks", "3"]
    aggregator = Aggregator(fleet, options=options)
    for service, text in (("wild", WILD), ("calm", "main;a 7\n")):
        path = os.path.join(fleet.dir, f"{service}.folded")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        fleet.cli(aggregator.address, "import", path, "--type", "ticks", "--label", f"service={service}", "--at",
                  "2026-01-01T00:00:00Z", "--duration", "10s")
    for _ in range(2):
        def side(selector):
            return fleet.json(aggregator.address, "top", selector, *HOUR)["side"]

        wild, calm, both = side('ticks{service="wild"}'), side('ticks{service="calm"}'), side("ticks")
        part = wild["completeness"]["folded"].get("service_stacks", {})
        # a, or b, or one of the new ones may have been first; the order is the dictionary's.
        check(wild["value"] == 50 and 0 < part["value"] < 50 and part["value"] % 2 == 0, wild)
        check(part["samples"] == part["value"] and wild["completeness"]["samples_lost"] == 0, wild)
        check(calm["completeness"]["folded"] == {}, calm)
        check(both["completeness"]["folded"] == {"service_stacks": part}, both)
        text = fleet.cli(aggregator.address, "top", 'ticks{service="wild"}', *HOUR)
        check(f"folded into their callers: service_stacks {part['samples']} samples ({2 * part['value']}." in text, text)
        check("folded 0 samples" in fleet.cli(aggregator.address, "top", 'ticks{service="calm"}', *HOUR), "calm")

        checks = {c["check"]: c for c in fleet.json(aggregator.address, "doctor")["checks"]}
        check(checks["aggregator.stacks"]["state"] == "warn" and "service-stacks" in checks["aggregator.stacks"]["remedy"]
              and f"{part['samples']} of 57 samples" in checks["aggregator.stacks"]["found"], checks)
        aggregator.stop()
        aggregator = Aggregator(fleet, data=aggregator.data, options=options)


if __name__ == "__main__":
    run(folded_by_service_stacks)
