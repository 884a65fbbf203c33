"""bench/run store --profile: what the figures that were missed spend their time on, by profleet itself.

A real agent samples the whole machine while the measurements run and sends to a real aggregator on loopback, apart from
those that are measured. What a measurement did when is known from the phases that bench.store names and from the
clock of bench/run; `profleet top` of that time and that program is the profile.
"""

import datetime
import json
import os
import re
import shutil
import time

from lib_fleet import BIN, Agent, Fleet, Program, wait_for

HZ = 499
INTERVAL_S = 0.5
REPEAT_S = float(os.environ.get("BENCH_STORE_PROFILE_S", 4))  # how long a question is repeated for its profile
ROWS = 10

# Which phase of which part a line of the table is about. Sizes have none: their notes say what they consist of.
PHASES = {
    "append, durable, head to sealed, one core": ("hour", "load_known"),
    "new-stack path, each": ("hour", "load_fresh"),
    "network to ack, known stacks, one core": ("wire", "network"),
    "latest ack at a deploy of 1,000 instances": ("wire", "deploy"),
    "service merge over 1 h, warm, to finished tree": ("hour", "hour"),
    "service merge over 24 h": ("day", "day"),
    "service merge over 30 d of rollups": ("month", "month"),
    "the hour from detail, summed by stack, one core": ("hour", "detail"),
    "diff of two 30-min ranges, both trees": ("hour", "diff"),
    "cold 1 h": ("hour", "hour_cold"),
    "cold 24 h": ("day", "day_cold"),
    "expiring three windows": ("hour", "expire"),
    "import: CPU s per million rows, aggregator": ("import", "import"),
    "import: ack p50 of the import's own files": ("import", "import"),
    "import: ack p50 of a probe beside them": ("import", "import"),
    "import: merge of one service": ("import", "merge of one service, ms"),
    "import: diff of its two versions": ("import", "diff of its two versions, ms"),
    "import: merge of all services": ("import", "merge of all services, ms"),
}
PROGRAMS = {"wire": "profleet-aggregator", "import": "profleet-aggregator"}


class Judge(Program):
    """An aggregator under another name, so that it is not taken for the one that is measured."""

    def __init__(self, fleet):
        path = os.path.join(fleet.dir, "bench.judge")
        shutil.copy(f"{BIN}/profleet-aggregator", path)
        super().__init__(fleet, "judge", [path, "--data", os.path.join(fleet.dir, "judge"), "--listen", "tcp://127.0.0.1:0",
                                          "--http", "127.0.0.1:0"])
        self.address = re.search(r"tcp://\S+", self.ready_text).group(0)


class Profile:
    """Between begin() and end() everything is sampled; phases are noted meanwhile."""

    def __init__(self):
        self.fleet, self.phases = Fleet().__enter__(), {}
        self.judge = Judge(self.fleet)
        self.agent = Agent(self.fleet, self.judge.address, ["--hz", str(HZ), "--interval", f"{int(INTERVAL_S * 1000)}ms",
                                                            "--state-dir", self.fleet.dir])

    def note(self, part, phase, from_s, to_s):
        if to_s - from_s > 0 and phase != "-":
            self.phases.setdefault((part, phase), []).append((from_s, to_s))

    def note_lines(self, part, lines):
        """Phases as bench.store prints them: each ends where the next begins."""
        stamps = [(words[1], int(words[2]) / 1e9) for words in (line.split("\t") for line in lines)]
        for (phase, from_s), (_, to_s) in zip(stamps, stamps[1:]):
            self.note(part, phase, from_s, to_s)

    def end(self):
        """Everything is there when the agent has stopped."""
        wait_for("an interval", lambda: self.fleet.agents(self.judge.address))
        self.agent.stop()

    def close(self):
        self.fleet.__exit__(None, None, None)

    def of(self, measure):
        """[(share of all, function, module)], the greatest first, or None: it has no phase, or a phase too short."""
        part, phase = PHASES.get(measure, (None, None))
        values = {}
        for from_s, to_s in self.phases.get((part, phase), []):
            exe = os.path.realpath(os.path.join(BIN, PROGRAMS.get(part, "bench.store")))
            text = self.fleet.cli(self.judge.address, "top", f'cpu{{exe="{exe}"}}', "--from", stamp(from_s), "--to",
                                  stamp(to_s), "--limit", "0", "-o", "json", status=None)
            # What was shorter than an interval left no sample of its own.
            for row in json.loads(text)["functions"] if text else []:
                name = (row["function"], row.get("module", ""))
                values[name] = values.get(name, 0) + row["flat"]
        total = sum(values.values())
        names = sorted(values, key=lambda name: -values[name])[:ROWS]
        return [(values[name] / total, *name) for name in names] if total else None


def stamp(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Noted:
    def __init__(self, profile, part, phase):
        self.profile, self.part, self.phase = profile, part, phase

    def __enter__(self):
        self.began = time.time()

    def __exit__(self, kind, value, trace):
        if self.profile:
            self.profile.note(self.part, self.phase, self.began, time.time())


def during(profile, part, phase):
    """The same where there is no profile."""
    return Noted(profile, part, phase)
