"""Odd files through the real wire: what their authors did not write down. Each is either kept value for
value, or refused by name with nothing of it in the store; files beside a refused one are imported.

# timeout: 300 s
"""

import gzip
import json
import os

import lib_pprof
from lib_fleet import Aggregator, check, run, write
from lib_pprof import field, packed

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
AT = ["--at", "2026-01-01T00:10:00Z", "--duration", "10s"]
DEEP = b";".join(b"f%d" % i for i in range(16384))
HOSTILE = "\x1b]52;c;eA==\x07|\x1b]8;|<script>|</script><!--|שלום|e\u0301|😀|\u202e".replace("|", ";").encode()

# Text, and the rows it means.
KEPT = {
    "empty": (b"", {}),
    "blank": (b"\n \t\r\n\n", {}),
    "all_zero": (b"a 0\nb;c 0\n", {}),
    "crlf": (b"a;b 1\r\nc 2\r", {b"a;b": 1, b"c": 2}),
    "tab_before_value": (b"a\tb;c\t7\n", {b"a\tb;c": 7}),
    "blanks": (b"a b; c ; d  e  7  \n", {b"a b; c ; d  e ": 7}),
    "no_names": (b"a;;b 1\n;a 2\na; 3\n; 4\n5\n", {b"a;;b": 1, b";a": 2, b"a;": 3, b";": 4, b"": 5}),
    "not_utf8": (b"\xff\xfe;\xc3;\xed\xa0\x80 4\n", {b"\xff\xfe;\xc3;\xed\xa0\x80": 4}),
    "hostile": (HOSTILE + b" 3\n", {HOSTILE: 3}),
    "deep": (DEEP + b" 9\n", {DEEP: 9}),
    "recursive": (b"m;f;f;f 3\nm;f 2\nm;f 2\n", {b"m;f;f;f": 3, b"m;f": 4}),
    "widest_name": (b"n" * 65535 + b" 3\n", {b"n" * 65535: 3}),
    "past_double": (b"a %d\n" % (2**53 + 1), {b"a": 2**53 + 1}),
    "largest": (b"a %d\n" % (2**64 - 1), {b"a": 2**64 - 1}),
}

REFUSED = {
    "negative": b"x 1\na -1\n", "exponent": b"a 1e9\n", "plus": b"a +5\n", "hex": b"a 0x10\n", "under": b"a 1_000\n",
    "comma": b"a 1,000\n", "fraction": b"a 1.0\n", "nan": b"a nan\n", "too_large": b"a %d\n" % 2**64,
    "sum_too_large": b"a %d\na 1\n" % (2**64 - 1), "two_too_large": b"a %d\nb 1\n" % (2**64 - 1),
    "zero_byte": b"a\0b 1\n", "wide_name": b"n" * 65536 + b" 3\n", "late": b"a 1\n" * 50000 + b"oops\n",
    "gzip_cut": gzip.compress(b"a 1\n" * 999)[:-5],
}


def rows_of(raw):
    rows = {}
    for line in raw.split(b"\n"):
        if line:
            stack, value = line.rsplit(b" ", 1)
            rows[stack] = int(value)
    return rows


def job(name):
    return f'{{job="{name}"}}'


def folded(fleet):
    aggregator = Aggregator(fleet)
    for name, (data, expected) in KEPT.items():
        for packed_as, suffix in ((data, ""), (gzip.compress(data), ".gz")):
            path = write(fleet, f"{name}.folded{suffix}", packed_as)
            label = name + suffix
            fleet.cli(aggregator.address, "import", path, "--label", f"job={label}", *AT)
            raw = fleet.cli(aggregator.address, "export", job(label), *HOUR, "-o", "folded", text=False)
            check(rows_of(raw) == expected, f"{label}: {rows_of(raw)} is not {expected}"[:1500])
    for name, data in REFUSED.items():
        path = write(fleet, f"{name}.folded", data)
        fleet.cli(aggregator.address, "import", path, "--label", f"job={name}", *AT, status=5)
        check(f"{name}.folded" in fleet.stderr, f"{name}: the message names the file: {fleet.stderr}")
        fleet.cli(aggregator.address, "export", job(name), *HOUR, "-o", "folded", status=6)

    # Values past 2^63 have passed here: whoever reads the aggregator's counters must stand that.
    fleet.cli(aggregator.address, "series", *HOUR, "-o", "json")
    check("aggregator.disk" in fleet.cli(aggregator.address, "doctor", status=None), "doctor reads every number")
    print(f"{len(KEPT)} folded files kept, {len(REFUSED)} refused")


def beside(fleet):
    """One bad file of several, no file at all, standard input, and what is wrong about a question."""
    aggregator = Aggregator(fleet)
    good = [write(fleet, f"good{i}.folded", b"a;b %d\n" % 10**i) for i in range(3)]
    bad = write(fleet, "bad.folded", b"a;b x\n")
    out = fleet.cli(aggregator.address, "import", good[0], bad, good[1], fleet.dir, good[2],
                    "--label", "job=many", *AT, status=5)
    check("3 of 5 files imported" in out, out)
    check("bad.folded: line 1" in fleet.stderr and "a folder" in fleet.stderr, fleet.stderr)
    check("3 rows in " in out and "acknowledged after " in out, f"how long it took is told: {out}")
    raw = fleet.cli(aggregator.address, "export", job("many"), *HOUR, "-o", "folded")
    check(raw == "a;b 111\n", raw)

    told = json.loads(fleet.cli(aggregator.address, "import", *good, bad, "--label", "job=told", *AT, "-o", "json", status=5))
    check([file["imported"] for file in told["files"]] == [True, True, True, False], told)
    check(told["files"][3] == {"file": bad, "imported": False, "tried": True}, told)
    check([file["types"] for file in told["files"][:3]] ==
          [[{"type": "cpu", "unit": "nanoseconds", "total": 10**i}] for i in range(3)], told)
    waited = sorted(file["waited_ns"] for file in told["files"][:3])
    check(told["waited_ns"] == {"p50": waited[1], "p99": waited[2], "max": waited[2]} and waited[0] > 0, told)
    check((told["files_imported"], told["files_count"], told["rows"]) == (3, 4, 3), told)
    check(told["elapsed_ns"] >= waited[2], told)

    fleet.cli(aggregator.address, "import", "-", "--label", "job=stdin", *AT, stdin=gzip.compress(b"a 5\n"), text=False)
    raw = fleet.cli(aggregator.address, "export", 'cpu{job="stdin"}', *HOUR, "-o", "folded")
    check(raw == "a 5\n", f"a folded file is of type cpu, whatever its name: {raw}")

    for wrong in (["--type", ""], ["--duration", "0s"], ["--at", "yesterday"], ["--label", "novalue"],
                  ["--label", "a=1", "--label", "a=2"]):
        fleet.cli(aggregator.address, "import", good[0], *wrong, status=2)
    fleet.cli(aggregator.address, "import", good[0], "--at", "0", "--label", "job=epoch")
    fleet.cli(aggregator.address, "export", job("epoch"), "--from", "0", "--to", "1", "-o", "folded")
    fleet.cli(aggregator.address, "top", "cpu", "--since", "1h", "--from", "now-1h", status=2)
    fleet.cli(aggregator.address, "import", good[0], "--at", "18446744073", status=5)
    check("the end of time" in fleet.stderr, fleet.stderr)
    fleet.cli(aggregator.address, "import", good[0], "--at", "18446744000", "--label", "job=last")

    # Nobody sampled these values, so nothing calls them samples.
    head = fleet.cli(aggregator.address, "top", job("many"), *HOUR)
    check("not sampled" in head and "samples" not in head.split("\n")[0], head)


def period_of(raw):
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    head = dict(lib_pprof.fields(raw))
    strings = [bytes(value) for number, value in lib_pprof.fields(raw) if number == 6]
    of = dict(lib_pprof.fields(head[11])) if 11 in head else {}
    return head.get(12, 0), strings[of.get(1, 0)], strings[of.get(2, 0)]


def odd_profiles():
    """(name, bytes, kept)"""
    def one(tail=b"", values=(30,), extra=b"", types=(("cpu", "nanoseconds"),), **options):
        writer = lib_pprof.Writer(types, **options)
        where = writer.location([("main", 3)])
        writer.samples.append(field(2, packed(1, [where]) + packed(2, list(values)) + extra))
        return writer.bytes() + tail

    yield "period", one(period=10, period_type=("cpu", "nanoseconds")), True
    yield "go", one(values=(3, 30), types=(("samples", "count"), ("cpu", "nanoseconds")), period=10,
                    period_type=("cpu", "nanoseconds")), True
    yield "no_multiple", one(period=7, period_type=("cpu", "nanoseconds")), True
    yield "largest", one(values=(2**63 - 1,)), True
    yield "two_units", one(values=(1, 2), types=(("cpu", "ns"), ("cpu", "count"))), True
    yield "nameless_type", one(types=(("", ""),)), True
    yield "negative_period", one(period=-10), False
    yield "negative", one(values=(-1,)), False
    yield "few_values", one(values=()), False
    yield "many_values", one(values=(1, 2)), False
    yield "twice_a_type", one(values=(1, 2), types=(("cpu", "ns"), ("cpu", "ns"))), False
    yield "text_and_number", one(extra=field(3, field(1, 1) + field(2, 2) + field(3, 4))), False
    yield "unknown_in_sample", one(extra=field(9, 1)), False
    yield "unknown_in_profile", one(tail=field(50, b"x")), False
    yield "no_location", one(extra=packed(1, [77])), False
    yield "same_location_id", one(tail=field(4, field(1, 1))), False
    yield "same_function_id", one(tail=field(5, field(1, 1))), False
    yield "no_function", one(tail=field(4, field(1, 9) + field(4, field(1, 99)))), False
    yield "no_mapping", one(tail=field(4, field(1, 9) + field(2, 99))), False
    yield "unknown_in_function", one(tail=field(5, field(1, 9) + field(9, 1))), False
    yield "unknown_in_location", one(tail=field(4, field(1, 9) + field(9, 1))), False
    yield "unknown_in_mapping", one(tail=field(3, field(1, 9) + field(19, 1))), False
    yield "unknown_in_line", one(tail=field(4, field(1, 9) + field(4, field(9, 1)))), False
    yield "cut", one()[:-2], False
    yield "trailing", one() + b"\xff\xff", False


def profiles(fleet):
    aggregator = Aggregator(fleet)
    for name, data, is_kept in odd_profiles():
        path = write(fleet, name + ".pb", data)
        out = os.path.join(fleet.dir, name + ".out.pb.gz")
        fleet.cli(aggregator.address, "import", path, "--label", f"job={name}", *AT, status=0 if is_kept else 5)
        fleet.cli(aggregator.address, "export", job(name), *HOUR, "--out", out, status=0 if is_kept else 6)
        if not is_kept:
            check(name in fleet.cli(aggregator.address, "import", path, status=5) + fleet.stderr, fleet.stderr)
            continue
        with open(out, "rb") as file:
            again = file.read()
        (rows, types), (got, got_types) = lib_pprof.read(data), lib_pprof.read(again)
        order = [got_types.index(kind) for kind in types]
        got = {key: tuple(values[i] for i in order) for key, values in got.items()}
        check(got == rows, f"{name}: {got} is not {rows}")
        if name in ("period", "go"):
            check(period_of(again) == period_of(data), f"{name}: {period_of(again)} is not {period_of(data)}")
        print(f"pprof {name}")


if __name__ == "__main__":
    run(folded)
    run(beside)
    run(profiles)
