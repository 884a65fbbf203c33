"""Writes flame graph pages without profleet: a second emitter of docs/formats/flame.md.

It lets the page be tested against profiles that the CLI would be slow or unable to make, and shows the
format in the fewest words. Profiles are given as {stack tuple, root first: value} per side; a frame is
a (name, module, kind) triple.
"""

import base64
import gzip
import hashlib
import html
import json
import os

SOURCE = os.environ.get("PROFLEET_SOURCE") or os.path.join(os.path.dirname(__file__), "..", "..")
PLACEHOLDERS = ("title", "style-sha256", "script-sha256", "style", "script", "meta", "encoding", "profile")


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value):
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


class Node:
    def __init__(self, sides):
        self.children = {}
        self.self = [0] * sides
        self.total = [0] * sides


def tree_of(sides):
    """The union tree of the sides."""
    root = Node(len(sides))
    for side, stacks in enumerate(sides):
        for stack, value in stacks.items():
            node = root
            node.total[side] += value
            for frame in stack:
                node = node.children.setdefault(frame, Node(len(sides)))
                node.total[side] += value
            node.self[side] += value
    return root


def preorder(root):
    """(depth, frame, node), children by size and then by name. Not recursive: stacks may be deep."""
    pending = [(0, ("all", "", 0), root)]
    while pending:
        depth, frame, node = pending.pop()
        yield depth, frame, node
        order = sorted(node.children.items(), key=lambda item: (-max(item[1].total), item[0]))
        pending.extend((depth + 1, frame, child) for frame, child in reversed(order))


def encode(sides):
    """The profile's bytes, not packed."""
    strings = {"": 0}
    frames = {}
    nodes = list(preorder(tree_of(sides)))
    for _, (name, module, kind), _ in nodes:
        strings.setdefault(name, len(strings))
        strings.setdefault(module, len(strings))
        frames.setdefault((name, module, kind), len(frames))

    out = bytearray(b"PFG1" + varint(len(strings)))
    for text in strings:
        encoded = text.encode("utf-8", "surrogateescape")
        out += varint(len(encoded)) + encoded
    out += varint(len(frames))
    for name, module, kind in frames:
        out += varint(strings[name]) + varint(strings[module]) + varint(kind)
    out += varint(len(sides)) + varint(len(nodes))
    before = 0
    for depth, _, _ in nodes:
        out += zigzag(depth - before)
        before = depth
    for _, frame, _ in nodes:
        out += varint(frames[frame])
    for side in range(len(sides)):
        for _, _, node in nodes:
            out += varint(node.self[side])
    return bytes(out)


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def read(name):
    with open(os.path.join(SOURCE, "query", name), "rb") as file:
        return file.read()


def script_of_page():
    """The scripts as the build joins them (cmake/embed.cmake)."""
    names = sorted(name for name in os.listdir(os.path.join(SOURCE, "query"))
                   if name.startswith("flame_") and name.endswith(".js"))
    return b"".join(read(name) for name in names)


def page(meta, profile, encoding="gzip"):
    """The page's bytes. `profile` is what encode() gave, or bytes that are broken on purpose."""
    style, script = read("flame.css"), script_of_page()
    packed = gzip.compress(profile, 6, mtime=0) if encoding == "gzip" else profile
    values = {
        "title": html.escape(meta.get("title", "")).encode(),
        "style-sha256": sha256(style).encode(),
        "script-sha256": sha256(script).encode(),
        "style": style,
        "script": script,
        "meta": json.dumps(meta).replace("<", "\\u003c").encode(),
        "encoding": encoding.encode(),
        "profile": base64.b64encode(packed),
    }
    out = []
    rest = read("flame.html")
    while True:
        before, marker, rest = rest.partition(b"<!--profleet:")
        out.append(before)
        if not marker:
            return b"".join(out)
        name, _, rest = rest.partition(b"-->")
        out.append(values[name.decode()])


def meta_of(sides, title="cpu", unit="nanoseconds", **more):
    """The least description a page needs, with totals that are true."""
    names = ["A", "B"] if len(sides) == 2 else [""]
    return {
        "schema_version": 1,
        "title": title,
        "kind": "diff" if len(sides) == 2 else "flame",
        "type": "cpu",
        "unit": unit,
        "sides": [{"name": name, "selector": title, "total": str(sum(side.values()))}
                  for name, side in zip(names, sides)],
        **more,
    }


def frames(text, module="", kind=2):
    """A stack from "main;work;leaf"."""
    return tuple((name, module, kind) for name in text.split(";"))
