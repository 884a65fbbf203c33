"""A second opinion on pprof: writes and reads profile.proto with a few lines of its own, so that our
import and export are not checked by themselves. Field numbers are those of the public format.
"""

import gzip


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(number, values):
    return field(number, b"".join(varint(v) for v in values)) if values else b""


class Writer:
    """Builds a profile: types [(name, unit)], then samples of frames."""

    def __init__(self, types, time_ns=0, duration_ns=0, period=0, period_type=None):
        self.strings, self.index = [], {}
        self.text("")
        self.functions, self.locations, self.mappings = {}, {}, {}
        self.samples = []
        self.head = b"".join(field(1, field(1, self.text(t)) + field(2, self.text(u))) for t, u in types)
        self.tail = field(9, time_ns) + field(10, duration_ns)
        if period_type:
            self.tail += field(11, field(1, self.text(period_type[0])) + field(2, self.text(period_type[1])))
        self.tail += field(12, period)

    def text(self, text):
        raw = text if isinstance(text, bytes) else text.encode()
        if raw not in self.index:
            self.index[raw] = len(self.strings)
            self.strings.append(raw)
        return self.index[raw]

    def mapping(self, start, limit, offset, filename, build_id):
        key = (start, limit, offset, filename, build_id)
        return self.mappings.setdefault(key, len(self.mappings) + 1)

    def function(self, name, system="", file="", start_line=0):
        return self.functions.setdefault((name, system, file, start_line), len(self.functions) + 1)

    def location(self, lines, address=0, mapping=0):
        """lines: ((name, line), ...) leaf-most first; several are inlined into one address."""
        key = (tuple(lines), address, mapping)
        return self.locations.setdefault(key, len(self.locations) + 1)

    def sample(self, locations, values, labels=()):
        """labels: (key, text) or (key, number, unit)."""
        body = packed(1, locations) + packed(2, values)
        for label in labels:
            parts = field(1, self.text(label[0]))
            if len(label) == 2:
                parts += field(2, self.text(label[1]))
            else:
                parts += field(3, label[1]) + field(4, self.text(label[2]))
            body += field(3, parts)
        self.samples.append(field(2, body))

    def bytes(self):
        out = [self.head] + self.samples
        for (start, limit, offset, filename, build_id), number in self.mappings.items():
            out.append(field(3, field(1, number) + field(2, start) + field(3, limit) + field(4, offset) +
                             field(5, self.text(filename)) + field(6, self.text(build_id))))
        locations = []
        for (lines, address, mapping), number in self.locations.items():
            body = field(1, number) + field(2, mapping) + field(3, address)
            for name, line in lines:
                body += field(4, field(1, self.function(name)) + field(2, line))
            locations.append(field(4, body))
        out += locations
        for (name, system, file, start_line), number in self.functions.items():
            out.append(field(5, field(1, number) + field(2, self.text(name)) + field(3, self.text(system)) +
                             field(4, self.text(file)) + field(5, start_line)))
        out += [varint(6 << 3 | 2) + varint(len(raw)) + raw for raw in self.strings]
        return b"".join(out) + self.tail


def fields(raw):
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(raw):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        elif key & 7 == 2:
            count = number()
            yield key >> 3, raw[at:at + count]
            at += count
        else:
            raise ValueError(f"wire type {key & 7}")


def numbers(value):
    """A repeated integer: packed or single."""
    if isinstance(value, int):
        return [value]
    out, shift, current = [], 0, 0
    for byte in value:
        current |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            out.append(current)
            current = shift = 0
    return out


def read(raw):
    """{(stack, labels): values} and the types; a stack is frames leaf first, as comparable tuples."""
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    strings, types, samples = [], [], []
    mappings, locations, functions = {0: ("", "")}, {}, {0: ("", "", "", 0)}
    for number, value in fields(raw):
        if number == 6:
            strings.append(bytes(value))
        elif number == 1:
            types.append(dict(fields(value)))
        elif number == 2:
            samples.append(value)
        elif number == 3:
            m = dict(fields(value))
            mappings[m[1]] = (m.get(5, 0), m.get(6, 0))
        elif number == 4:
            lines, body = [], {}
            for n, v in fields(value):
                if n == 4:
                    line = dict(fields(v))
                    lines.append((line.get(1, 0), line.get(2, 0)))
                else:
                    body[n] = v
            locations[body[1]] = (body.get(2, 0), body.get(3, 0), lines)
        elif number == 5:
            f = dict(fields(value))
            functions[f[1]] = (f.get(2, 0), f.get(3, 0), f.get(4, 0), f.get(5, 0))

    def location(number):
        mapping, address, lines = locations[number]
        name, build = mappings[mapping]
        where = (strings[name] if mapping else b"", strings[build] if mapping else b"", address)
        return where, tuple((strings[functions[f][0]], line) for f, line in lines)

    rows = {}
    for sample in samples:
        stack, values, labels = [], [], []
        for number, value in fields(sample):
            if number == 1:
                stack += [location(n) for n in numbers(value)]
            elif number == 2:
                values += [v - (1 << 64) if v >> 63 else v for v in numbers(value)]
            elif number == 3:
                label = dict(fields(value))
                labels.append((strings[label[1]], strings[label.get(2, 0)], label.get(3, 0),
                               strings[label.get(4, 0)]))
        key = (tuple(stack), tuple(sorted(labels)))
        old = rows.get(key, [0] * len(types))
        rows[key] = [a + b for a, b in zip(old, values)]
    rows = {key: tuple(values) for key, values in rows.items() if any(values)}
    return rows, [(strings[t.get(1, 0)].decode(), strings[t.get(2, 0)].decode()) for t in types]
