"""Import then export is the identity, value for value, through the real wire and the real store: for
folded and pprof files from empty to 100 MB, with everything that is awkward in a name. What cannot be
kept is refused or reported, never dropped in silence.

# timeout: 900 s
# holds: nothing
"""

import os
import random

import lib_pprof
from lib_fleet import Aggregator, check, run, write

HOUR = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"]
AT = ["--at", "2026-01-01T00:10:00Z", "--duration", "10s"]
BIG_BYTES = int(os.environ.get("PROFLEET_BIG_BYTES", 100_000_000))

AWKWARD = ["plain", "two words", " leading blank", "operator()(int, char const*)", "größe", "関数",
           "\x1b[31mred\x1b[0m", "<script>alert(1)</script>", "&amp;\"'", "a" * 2000, "%s%n", "tab\there",
           "std::vector<int, std::allocator<int> >::push_back(int&&)", "_ZN4core3fmt5write17h0123456789abcdefE"]


def parse_folded(raw):
    rows = {}
    for line in raw.split(b"\n"):
        if line:
            stack, value = line.rsplit(b" ", 1)
            rows[stack] = rows.get(stack, 0) + int(value)
    return rows


def round_trip(fleet, aggregator, name, data, form, kind="cpu"):
    """Imports under a label of its own and exports by it."""
    path = write(fleet, name, data)
    options = ["--type", kind] if form == "folded" else []
    fleet.cli(aggregator.address, "import", path, "--format", form, *options, "--label", f"job={name}", *AT,
              seconds=600)
    notes = fleet.stderr
    selector = f'{{job="{name}"}}'
    out = os.path.join(fleet.dir, "out." + name)
    fleet.cli(aggregator.address, "export", selector, *HOUR, "-o", form, "--out", out, seconds=600)
    with open(out, "rb") as file:
        return file.read(), notes


def folded_files(fleet):
    aggregator = Aggregator(fleet)
    deep = ";".join(f"frame{i}" for i in range(500))
    cases = {
        "one": b"main;work 5\n",
        "recursion": b"main;f;f;f 3\nmain;f;f 2\nmain;f 1\n",
        "deep": deep.encode() + b" 7\n",
        "equal_lines": b"a;b 1\na;b 2\na;c 3\n",
        "huge_values": b"a 9223372036854775807\nb 1\n",
        "no_newline": b"a;b 1",
        "spaces": b"a b;c d 12\n",
        "awkward": "".join(f"root;{name};leaf {i + 1}\n" for i, name in enumerate(AWKWARD)
                           if ";" not in name and "\n" not in name).encode(),
    }
    for name, data in cases.items():
        out, _ = round_trip(fleet, aggregator, name, data, "folded")
        check(parse_folded(out) == parse_folded(data), f"{name}: {parse_folded(out)} is not {parse_folded(data)}"[:2000])
        print(f"folded {name}: {len(parse_folded(data))} stacks")

    rng = random.Random(7)
    names = [f"function_number_{i}" for i in range(3000)]
    lines, size = [], 0
    while size < BIG_BYTES:
        stack = ";".join(rng.choices(names, k=rng.randint(2, 8)))
        lines.append(f"{stack} {rng.randint(1, 1 << 40)}\n")
        size += len(lines[-1])
    data = "".join(lines).encode()
    out, _ = round_trip(fleet, aggregator, "bigfolded", data, "folded")
    check(parse_folded(out) == parse_folded(data), "big: the export is not the import")
    print(f"folded big: {len(lines)} lines, {len(data)} bytes")

    empty = write(fleet, "empty.folded", b"")
    fleet.cli(aggregator.address, "import", empty, "--format", "folded", "--type", "cpu", *AT)
    fleet.cli(aggregator.address, "export", '{job="empty"}', *HOUR, "-o", "folded", status=6)

    refused = {"negative": b"a;b -1\n", "fraction": b"a 1.5\n", "no value": b"a;b\n",
               "too large": b"a 99999999999999999999999\n", "second line": b"a 1\nb x\n"}
    for name, data in refused.items():
        path = write(fleet, "refused.folded", data)
        fleet.cli(aggregator.address, "import", path, "--format", "folded", "--type", "cpu",
                  "--label", "job=refused", *AT, status=5)
        check("refused.folded" in fleet.stderr and (":1" in fleet.stderr or ":2" in fleet.stderr or
                                                     "line" in fleet.stderr),
              f"{name}: the message names the file and the line: {fleet.stderr}")
    fleet.cli(aggregator.address, "export", '{job="refused"}', *HOUR, "-o", "folded", status=6)


def pprof_cases():
    one = lib_pprof.Writer([("cpu", "nanoseconds")], period=10_000_000, period_type=("cpu", "nanoseconds"))
    one.sample([one.location([("work", 7)]), one.location([("main", 3)])], [20_000_000])
    yield "one", one

    two = lib_pprof.Writer([("samples", "count"), ("cpu", "nanoseconds")])
    two.sample([two.location([("f", 1)]), two.location([("main", 0)])], [1, 10_000_001])
    two.sample([two.location([("g", 1)]), two.location([("main", 0)])], [0, 77])
    two.sample([two.location([("h", 1)]), two.location([("main", 0)])], [3, 0])
    yield "two_types", two

    inlined = lib_pprof.Writer([("cpu", "nanoseconds")])
    where = inlined.mapping(0x400000, 0x500000, 0, "/usr/bin/x", "abcdef0123")
    leaf = inlined.location([("inner", 5), ("middle", 6), ("outer", 7)], 0x401234, where)
    inlined.sample([leaf, inlined.location([("main", 1)], 0x401000, where)], [5])
    inlined.sample([inlined.location([], 0x402222, where), inlined.location([], 0x7, 0)], [6])
    yield "inlined_and_addresses", inlined

    labels = lib_pprof.Writer([("cpu", "nanoseconds")])
    f = labels.location([("f", 1)])
    labels.sample([f], [1], [("thread", "main")])
    labels.sample([f], [2], [("thread", "worker 1"), ("bytes", 4096, "bytes")])
    labels.sample([f], [4], [("key with blanks", "v\"1"), ("n", 7, "")])
    labels.sample([f], [8])
    yield "labels", labels

    names = lib_pprof.Writer([("cpu", "nanoseconds")])
    for i, name in enumerate(AWKWARD + ["semi;colon", "new\nline"]):
        names.sample([names.location([(name, i)]), names.location([("main", 1)])], [i + 1])
    yield "awkward", names

    deep = lib_pprof.Writer([("cpu", "nanoseconds")])
    deep.sample([deep.location([(f"f{i % 250}", i)]) for i in range(500)], [3])
    yield "deep_and_recursive", deep


def big_profile(size_min):
    """A profile of about that size over some thousand stacks with common callers, and {folded: cpu}."""
    rng = random.Random(9)
    writer = lib_pprof.Writer([("samples", "count"), ("cpu", "nanoseconds")])
    names = [f"some_function_with_a_longish_name_{i}" for i in range(5000)]
    locations = [writer.location([(name, i % 900)]) for i, name in enumerate(names)]
    stacks = [[0]]
    while len(stacks) < 5000:
        # A callee is added to a stack that is there already: leaf first.
        caller = stacks[rng.randrange(len(stacks))]
        if len(caller) < 60:
            stacks.append([rng.randrange(len(names))] + caller)
    folded = [";".join(names[i] for i in reversed(stack)).encode() for stack in stacks]
    bodies = [[locations[i] for i in stack] for stack in stacks]
    expected, size = {}, 0
    while size < size_min:
        i, value = rng.randrange(len(stacks)), rng.randint(1, 1 << 30)
        writer.sample(bodies[i], [rng.randint(1, 9), value])
        expected[folded[i]] = expected.get(folded[i], 0) + value
        size += len(writer.samples[-1])
    return writer.bytes(), expected


def folded_cpu(fleet, aggregator, job):
    out = fleet.cli(aggregator.address, "export", f'cpu{{job="{job}"}}', *HOUR, "-o", "folded", text=False, seconds=600)
    return parse_folded(out)


def pprof_files(fleet):
    aggregator = Aggregator(fleet)
    for name, writer in pprof_cases():
        data = writer.bytes()
        out, _ = round_trip(fleet, aggregator, name, data, "pprof")
        expected, types = lib_pprof.read(data)
        got, got_types = lib_pprof.read(out)
        check(sorted(types) == sorted(got_types), f"{name}: types {got_types}, not {types}")
        order = [got_types.index(t) for t in types]
        got = {key: tuple(values[i] for i in order) for key, values in got.items()}
        check(got == expected, f"{name}:\n got {got}\nwant {expected}"[:4000])
        print(f"pprof {name}: {len(expected)} samples")

    small, expected = big_profile(min(BIG_BYTES, 1_000_000))
    out, _ = round_trip(fleet, aggregator, "exact", small, "pprof")
    check(lib_pprof.read(out)[0] == lib_pprof.read(small)[0], "exact: the export is not the import")
    print(f"pprof exact: {len(small)} bytes, {len(expected)} stacks")

    # Too large for the second opinion's patience: compared as folded text with what was generated, and
    # once more after the export was imported again.
    data, expected = big_profile(BIG_BYTES)
    out, _ = round_trip(fleet, aggregator, "big", data, "pprof")
    check(folded_cpu(fleet, aggregator, "big") == expected, "big: the answer is not the import")
    round_trip(fleet, aggregator, "again", out, "pprof")
    check(folded_cpu(fleet, aggregator, "again") == expected, "big: the import of the export is not the import")
    print(f"pprof big: {len(data)} bytes, {len(expected)} stacks")

    negative = lib_pprof.Writer([("cpu", "nanoseconds")])
    negative.sample([negative.location([("f", 1)])], [-5])
    unknown = lib_pprof.Writer([("cpu", "nanoseconds")])
    unknown.sample([unknown.location([("f", 1)])], [5])
    broken = unknown.bytes()
    refused = {"negative": negative.bytes(), "unknown_field": broken + lib_pprof.field(99, 1),
               "truncated": broken[:-3], "not_a_profile": b"\x00\x01\x02 nothing",
               "truncated_gzip": b"\x1f\x8b\x08\x00"}
    for name, data in refused.items():
        path = write(fleet, name + ".pb.gz", data)
        fleet.cli(aggregator.address, "import", path, "--format", "pprof", "--label", f"job={name}", *AT, status=5)
        check(name in fleet.stderr, f"{name}: the message names the file: {fleet.stderr}")
        fleet.cli(aggregator.address, "export", f'{{job="{name}"}}', *HOUR, "-o", "folded", status=6)
    empty = write(fleet, "empty.pb.gz", b"")
    fleet.cli(aggregator.address, "import", empty, "--format", "pprof", *AT, status=None)


if __name__ == "__main__":
    run(folded_files)
    run(pprof_files)
