"""bench/run store: what the store is asked to reach, beside DuckDB, as one table and as JSON.

Figures come from bench.store (one line a run, bench/store.md), from bench.fleet over the wire, and from
the other measurements of bench/run. This file knows what is asked for, who the peer is and how the table
looks; it measures nothing itself.
"""

import os
import platform
import re
import shutil
import statistics
import subprocess

import store_profile

DUCKDB = "1.5.6-r.1"


def duckdb_folder():
    """Where the peer lies, outside the tree; PROFLEET_BENCH_CACHE moves it."""
    cache = os.environ.get("PROFLEET_BENCH_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "profleet-bench")
    return os.path.join(cache, f"duckdb-{DUCKDB}")


def duckdb_find():
    """libduckdb.so, or None where it was never installed. Debian's npm brings that for musl along, which is not ours."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    path = os.path.join(duckdb_folder(), "node_modules", "@duckdb", f"node-bindings-linux-{machine}", "libduckdb.so")
    return path if os.path.exists(path) else None


def duckdb_install():
    """libduckdb.so, from the npm registry where it is not there yet. RuntimeError says what is missing."""
    library = duckdb_find()
    if library:
        return library
    if not shutil.which("npm"):
        raise RuntimeError("no npm, which brings the peer: run deploy/install-deps bench, or say --no-peer")
    os.makedirs(duckdb_folder(), exist_ok=True)
    # Of the package only its plain C library is used: nothing of it runs while it is installed.
    done = subprocess.run(["npm", "install", "--prefix", duckdb_folder(), "--ignore-scripts", "--no-audit", "--no-fund",
                           f"@duckdb/node-api@{DUCKDB}"], capture_output=True, text=True, check=False)
    library = duckdb_find()
    if not library:
        raise RuntimeError(f"npm could not install DuckDB {DUCKDB}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return library


def run_set(program, name, folder, runs, library, profile=None):
    """The figures of one set: name -> values, one for each run."""
    figures = {}
    work = os.path.join(folder, name)
    os.mkdir(work)
    try:
        repeat = {"BENCH_STORE_PROFILE_S": str(store_profile.REPEAT_S)} if profile else {}
        done = subprocess.run([program, name, work, str(runs), *([library] if library else [])],
                              stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, **repeat})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    lines = done.stdout.splitlines()
    phases = [line for line in lines if line.startswith("phase\t")]
    if profile:
        profile.note_lines(name.split("-")[0], phases)
    for line in lines:
        if line in phases:
            continue
        figure, value = line.split("\t")
        figures.setdefault(figure, []).append(float(value))
    if done.returncode or figures.get("answers_differing") != [0]:
        raise RuntimeError(f"bench.store {name}: exit {done.returncode}: see above")
    return figures


class Row:
    """A line of the table. `ours` and `peer` are lists of values, one a run."""

    def __init__(self, measure, unit, ours, peer=None, reach=None, more=False, note="", limit=""):
        self.measure, self.unit, self.more, self.reach = measure, unit, more, reach
        self.ours, self.peer = ours or [], peer or []
        self.is_met, self.profile = None, None
        if reach is not None and self.ours:
            median = statistics.median(self.ours)
            self.is_met = median >= reach if more else median <= reach
        self.note = "; ".join(text for text in (note, limit if self.is_met is False else "") if text)

    def ratio(self):
        """How many times better than the peer."""
        if not self.ours or not self.peer:
            return None
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        if not ours or not peer:
            return None
        return ours / peer if self.more else peer / ours

    def as_json(self):
        def spread(values):
            if not values:
                return None
            return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}
        return {"measure": self.measure, "unit": self.unit, "better": "more" if self.more else "less",
                "ours": spread(self.ours), "peer": spread(self.peer), "ratio": self.ratio(), "reach": self.reach,
                "met": self.is_met, "note": self.note,
                **({"profile": [{"share": share, "function": function, "module": module}
                                for share, function, module in self.profile]} if self.profile else {})}


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


class StoreTable:
    """The whole of it; prints as the other tables of bench/run do."""

    def __init__(self, title, is_quick, peer):
        self.title, self.is_quick, self.peer, self.rows, self.sets = title, is_quick, peer, [], {}

    def add_set(self, name, figures):
        self.sets[name] = {what: int(figures[what][0]) for what in ("rows", "stacks", "series")}

    def add(self, *args, **kwargs):
        self.rows.append(Row(*args, **kwargs))

    def print(self):
        print(f"\n{self.title}")
        for name, of in self.sets.items():
            print(f"{name}: {of['rows']:,} rows, {of['stacks']:,} distinct stacks, {of['series']:,} instances")
        print()
        print(f"{'measure':58} {'unit':9} {'ours':>8} {'peer':>8} {'ratio':>7} {'spread':>17} {'reach':>7}  met")
        for row in self.rows:
            if not row.ours:
                continue
            spread = f"{number(min(row.ours))} .. {number(max(row.ours))}"
            peer = number(statistics.median(row.peer)) if row.peer else "-"
            met = {None: "", True: "met", False: "NOT met"}[row.is_met]
            print(f"{row.measure:58} {row.unit:9} {number(statistics.median(row.ours)):>8} {peer:>8} "
                  f"{number(row.ratio()):>7} {spread:>17} {number(row.reach):>7}  {met}")
        notes = [row for row in self.rows if row.note and row.ours]
        if notes:
            print("\nnotes")
            for row in notes:
                print(f"  {row.measure}: {row.note}")
        self.print_profiles()
        judged = [row for row in self.rows if row.is_met is not None]
        print(f"\n{sum(row.is_met for row in judged)} of {len(judged)} met; ratio: how many times better than the peer; "
              f"spread: least and greatest of the runs")
        if self.is_quick:
            print("--quick: a smaller set, for which the reaches were not meant")

    def add_profiles(self, profile, of_all):
        """Of what was missed, or of all that has one."""
        for row in self.rows:
            if row.ours and (of_all or row.is_met is False):
                row.profile = profile.of(row.measure)

    def print_profiles(self):
        for row in self.rows:
            if not row.profile:
                continue
            print(f"\nprofile of: {row.measure} (profleet top of the measurement, flat)")
            for share, function, module in row.profile:
                print(f"  {100 * share:5.1f} %  {function}  {module}")

    def as_json(self):
        return {"title": self.title, "is_quick": self.is_quick, "peer": self.peer, "sets": self.sets,
                "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "model": cpu_model()},
                "rows": [row.as_json() for row in self.rows if row.ours]}


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpus:
        found = re.search(r"model name\s*:\s*(.*)", cpus.read())
    return found.group(1) if found else platform.machine()


def per(numerator, values, scale=1.0):
    """numerator / each value: rates out of times."""
    return [numerator / value * scale for value in values or [] if value]


# What a figure that is missed ends at, where that is known. Names are those of the calls below.
LIMITS = {
    "sums": "groups of version, region and 16 buckets are nearly the instances of set A: their values take 0.24 B a sample at "
            "ten minutes, where the entropy given a stack's total and a group's share is 0.23, and 0.15 of 0.16 at an hour; "
            "dictionary and totals are another 0.15 and 0.05, which is what a service as one group would take",
    "written": "the log is the most of it: of a row there about 0.5 B are the bits in which a stack differs from "
               "its neighbour, 0.5 how many these are, the rest places inside of a path, values and what a section says of itself; "
               "then detail, sums and rollups",
    "memory": "a stack brings about 9.5 nodes of 8 bytes and 0.9 frames of 80 with their place in a table",
}


def add_space(table, hour):
    table.add("detail size", "B/row", hour.get("detail_bytes_per_row"), hour.get("detail_bytes_per_row_duck"), 1.6,
              note="keys and values; the peer's rows sorted by (service, series, stack, t)",
              limit=LIMITS.get("detail", ""))
    table.add("sums and rollups, 16 buckets, version and region", "B/row", hour.get("sums_bytes_per_row"),
              hour.get("sums_bytes_per_row_duck"), 0.25,
              note=f"ten minutes and hours, with who was watching; of it {middle(hour, 'rollups_bytes_per_row')} the hours; "
              "the peer's ten minutes keep the service alone", limit=LIMITS.get("sums", ""))
    table.add("dictionary: stacks, frames, names", "B/row", hour.get("dict_bytes_per_row"),
              note=f"{number(statistics.median(hour['dict_bytes_per_stack']))} B for each distinct stack"
              if hour.get("dict_bytes_per_stack") else "")
    table.add("folder, sealed, all included", "B/row", hour.get("disk_bytes_per_row"))


def add_append(table, hour, wire):
    table.add("append, durable, head to sealed, one core", "Mrow/s", hour.get("append_seal_mrows_per_core"),
              hour.get("append_seal_mrows_per_core_duck"), 5, more=True,
              note="rows by CPU seconds of the whole process, every stack known; the peer commits as often, then sorts",
              limit=LIMITS.get("append", ""))
    table.add("  of it the append", "Mrow/s", hour.get("append_mrows_per_core"), hour.get("append_mrows_per_core_duck"), more=True)
    table.add("  of it the seal", "Mrow/s", hour.get("seal_mrows_per_core"), more=True)
    table.add("  beside it the rollup of an hour", "Mrow/s", hour.get("roll_mrows_per_core"), more=True)
    table.add("  head to sealed with every stack new", "Mrow/s", hour.get("append_seal_new_mrows_per_core"), more=True)
    table.add("network to ack, known stacks, one core", "Mrow/s", wire.get("network_mrows_per_core"), reach=3, more=True,
              note="rows by CPU seconds of the aggregator, TCP on loopback (bench/run ingest)", limit=LIMITS.get("network", ""))
    table.add("bytes written over the life", "B/row", hour.get("written_per_row"), hour.get("written_per_row_duck"), 3.5,
              note="write_bytes of /proc/self/io: pages made dirty by log, seal and flush, every stack known",
              limit=LIMITS.get("written", ""))
    table.add("  of it as given to write()", "B/row", hour.get("written_calls_per_row"))
    table.add("  written with every stack new", "B/row", hour.get("written_new_per_row"))


def waiting(figures, cpu):
    """Of a question that is missed: what of it is work at all."""
    return f"its CPU alone is {middle(figures, cpu)} ms, the rest is waiting for the machine; --profile shows the work"


TREE_NOTE = "answer_fold(), which answers `tree` and `flame`, in process, to its 16,384 nodes; the peer's by stack, no tree"


def add_questions(table, hour, day, month):
    table.add("service merge over 1 h, warm, to finished tree", "ms", hour.get("hour_ms"), hour.get("hour_ms_duck"), 10,
              note=f"{TREE_NOTE}, from its own rollup ({middle(hour, 'hour_raw_ms_duck')} ms from rows)",
              limit=waiting(hour, "hour_cpu_ms"))
    table.add("  CPU of it, 1 h", "ms", hour.get("hour_cpu_ms"))
    table.add("  the sum by stack alone, 1 h", "ms", hour.get("hour_sum_ms"))
    table.add("service merge over 24 h", "ms", day.get("day_ms"), day.get("day_ms_duck"), 25,
              note=f"set B; the peer from its rollup of hours ({middle(day, 'raw_ms_duck')} ms from rows)",
              limit=waiting(day, "day_cpu_ms"))
    table.add("  CPU of it, 24 h", "ms", day.get("day_cpu_ms"))
    table.add("  the sum by stack alone, 24 h", "ms", day.get("day_sum_ms"))
    table.add("service merge over 30 d of rollups", "ms", month.get("month_ms"), month.get("month_ms_duck"), 60,
              note=f"the peer from its rollup of days ({middle(month, 'raw_ms_duck')} ms from rows)",
              limit=waiting(month, "month_cpu_ms"))
    table.add("  CPU of it, 30 d", "ms", month.get("month_cpu_ms"))
    table.add("  the sum by stack alone, 30 d", "ms", month.get("month_sum_ms"))
    rows = statistics.median(hour["detail_rows"])
    table.add("the hour from detail, summed by stack, one core", "Mrow/s", per(rows, hour.get("detail_sum_cpu_ms"), 1e-3),
              per(rows, hour.get("detail_ms_duck"), 1e-3), 200, more=True,
              note="all instances but one, which sums do not keep apart; rows by CPU time of the process", limit=LIMITS.get("from detail", ""))
    table.add("  the same to finished tree", "ms", hour.get("detail_ms"), hour.get("detail_ms_duck"))
    table.add("diff of two 30-min ranges, both trees", "ms", hour.get("diff_ms"), hour.get("diff_ms_duck"), 20,
              limit=waiting(hour, "diff_cpu_ms"))
    table.add("  CPU of it, diff", "ms", hour.get("diff_cpu_ms"))
    table.add("cold 1 h", "ms", hour.get("hour_cold_ms"), hour.get("hour_cold_ms_duck"), 15,
              note="files out of the page cache, no block cache, database open, names known; the peer reopened",
              limit=LIMITS.get("cold", ""))
    table.add("cold 24 h", "ms", day.get("day_cold_ms"), day.get("day_cold_ms_duck"), 80, limit=LIMITS.get("cold", ""))
    table.add("  first question after a cold restart, 1 h", "ms", hour.get("hour_restarted_ms"),
              note="the opening itself apart")


def middle(figures, name):
    return number(statistics.median(figures[name])) if figures.get(name) else "-"


def add_life(table, hour, wire, memory_mb=None):
    table.add("expiring three windows", "ms", hour.get("expire_ms"), hour.get("expire_ms_duck"), 100,
              note="named by inventory, hidden, erased, their files dropped; the peer deletes rows and rollup and checkpoints",
              limit=LIMITS.get("expire", ""))
    table.add("  written because of it, of the bytes that went", "%", hour.get("expire_written_percent"), reach=25,
              note=f"until half a second passes without: no compaction storm, which would write what stays anew; "
              f"{middle(hour, 'expire_written_mb')} MB of {middle(hour, 'expire_gone_mb')}", limit=LIMITS.get("storm", ""))
    table.add("new-stack path, each", "us", hour.get("new_stack_us"), reach=3,
              note="CPU of appending all into a fresh store above that of new sessions into one that knows every stack; "
              f"{middle(hour, 'new_node_us')} us for each node of the trie", limit=LIMITS.get("new stack", ""))
    table.add("  a stack that the store knows, new to its session", "us", hour.get("new_session_stack_us"))
    table.add("latest ack at a deploy of 1,000 instances", "ms", wire.get("deploy_ack_ms_max"), reach=1000,
              note=("--quick: of 60; " if table.is_quick else "") +
              "every stack new, 64 pushes in flight as fast as they are acknowledged, through the wire",
              limit=LIMITS.get("deploy", ""))
    table.add("  p99 of these acks", "ms", wire.get("deploy_ack_ms_p99"))
    table.add("memory per distinct live stack", "B", hour.get("memory_per_stack"), reach=160,
              note=f"growth of RSS by opening it without a block cache, less the {middle(hour, 'memory_fixed_mb')} MB of an empty "
              f"store ({middle(hour, 'memory_all_per_stack')} B with them); {middle(hour, 'memory_asked_per_stack')} B after a question",
              limit=LIMITS.get("memory", ""))
    table.add("aggregator at that deploy, all memory", "MB", wire.get("deploy_rss_mb"), reach=memory_mb,
              note="peak RSS of an aggregator whose one key `memory` is the reach", limit=LIMITS.get("budget", ""))
    table.add("questions while appending at half the maximum, p99", "ms", hour.get("pace_ask_ms_p99"),
              note=f"merges of 20 to 60 minutes; alone {middle(hour, 'pace_ask_alone_ms_p99')} ms")
    table.add("  p50 of these questions", "ms", hour.get("pace_ask_ms_p50"))
    table.add("appends (groups of 64 reports) meanwhile, p99", "ms", hour.get("pace_append_ms_p99"),
              note=f"{middle(hour, 'pace_mrows')} of at most {middle(hour, 'pace_max_mrows')} Mrow/s, in process, synced")
    table.add("  p50 of these appends", "ms", hour.get("pace_append_ms_p50"))


def add_import(table, figures, reach_and_peer):
    for name, (reach, peer) in reach_and_peer.items():
        if name in figures:
            measure, _, unit = name.rpartition(", ")
            measure, unit = (measure, unit) if unit in ("ms", "MB") else (name, "")
            table.add(f"import: {measure}", unit, figures[name], [peer] if peer else None, reach,
                      note="peer: the best of Pyroscope and Parca on such files, measured before" if peer else "",
                      limit=LIMITS.get("import", ""))
