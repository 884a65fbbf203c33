#!/usr/bin/python3
"""Tests of tests/tidy/tidy: for every rule a tree that breaks it and one beside it that does not.

Each tree is made in a temporary folder from the same clean base, so that what is reported is what
the example adds.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

TIDY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tidy")
PURPOSE = "/*\n * An example file that says at some length what it would be for.\n */\n\n"
HEADER = "#pragma once\n\n" + PURPOSE
SCRIPT = "#!/bin/bash\n# An example script that says at some length what it would be for.\n\n"

BASE = {
    "core/hash.h": HEADER + "int hash_one(int x);\n",
    "core/hash.c": PURPOSE + '#include "core/hash.h"\n',
}

# (what is shown, files of the tree, what a finding must contain; None: no finding at all)
EXAMPLES = [
    # Arrows.
    ("a lower layer includes a higher one",
     {"core/x.c": PURPOSE + '#include "storage/x.h"\n', "storage/x.h": HEADER},
     "core/x.c:5: core/ must not include storage/x.h"),
    ("a higher layer includes a lower one",
     {"aggregator/x.c": PURPOSE + '#include "core/hash.h"\n'}, None),
    ("parts beside each other", {"query/x.c": PURPOSE + '#include "agent/x.h"\n', "agent/x.h": HEADER},
     "query/x.c:5: query/ must not include agent/x.h"),
    ("storage knows no aggregator",
     {"storage/x.c": PURPOSE + '#include "aggregator/x.h"\n', "aggregator/x.h": HEADER},
     "storage/ must not include aggregator/x.h"),
    ("agent reads the contract with the kernel",
     {"agent/x.c": PURPOSE + '#include "bpf/events.h"\n', "bpf/events.h": HEADER}, None),
    ("agent reads another header of bpf",
     {"agent/x.c": PURPOSE + '#include "bpf/kernel.h"\n', "bpf/kernel.h": HEADER},
     "agent/ must not include bpf/kernel.h"),
    ("bpf knows only itself", {"bpf/x.h": HEADER + '#include "core/hash.h"\n',
                               "tests/lib/x.c": PURPOSE + '#include "bpf/x.h"\n'},
     "bpf/ must not include core/hash.h"),
    ("tests include everything", {"tests/lib/x.c": PURPOSE + '#include "core/hash.h"\n'}, None),
    ("an include that climbs", {"core/x.c": PURPOSE + '#include "../core/hash.h"\n'}, "climbs"),
    ("an include that hides its layer", {"core/x.c": PURPOSE + '#include "hash.h"\n'},
     'write it from the root, "core/hash.h"'),
    ("our header in angle brackets", {"core/x.c": PURPOSE + "#include <core/hash.h>\n"}, "is ours"),
    ("an include in a comment is none",
     {"core/x.c": PURPOSE + '/*\n#include "storage/x.h"\n*/\n#include "core/hash.h"\n'}, None),
    ("a private header from another folder",
     {"profile/x.c": PURPOSE + '#include "core/x_private.h"\n', "core/x_private.h": HEADER},
     "core/x_private.h is private to core/"),
    ("a private header at home",
     {"core/x.c": PURPOSE + '#include "core/x_private.h"\n', "core/x_private.h": HEADER}, None),
    # Foreign libraries.
    ("RocksDB outside its file", {"storage/x.c": PURPOSE + "#include <rocksdb/c.h>\n"},
     "rocksdb/c.h belongs to storage/kv.c alone: use storage/kv.h"),
    ("Roaring outside its file", {"storage/x.c": PURPOSE + "#include <roaring/roaring.h>\n"},
     "roaring/roaring.h belongs to storage/label_index.c alone: use storage/label_index.h"),
    ("RocksDB in its file", {"storage/kv.c": PURPOSE + "#include <rocksdb/c.h>\n"}, None),
    ("nng outside its file", {"agent/x.c": PURPOSE + "#include <nng/protocol/reqrep0/req.h>\n"},
     "core/net.c alone"),
    ("nng in its file", {"core/net.c": PURPOSE + "#include <nng/protocol/reqrep0/req.h>\n"}, None),
    ("libbpf outside its file", {"agent/x.c": PURPOSE + "#include <bpf/libbpf.h>\n"},
     "agent/bpf_object.c alone"),
    ("a skeleton outside its file", {"agent/x.c": PURPOSE + '#include "bpf/cpu.skel.h"\n'},
     "agent/bpf_object.c alone"),
    ("a skeleton in its file", {"agent/bpf_object.c": PURPOSE + '#include "bpf/cpu.skel.h"\n'}, None),
    ("the kernel's side of libbpf", {"bpf/x.h": HEADER + "#include <bpf/bpf_helpers.h>\n",
                                     "tests/lib/x.c": PURPOSE + '#include "bpf/x.h"\n'}, None),
    ("libmicrohttpd outside its file", {"query/x.c": PURPOSE + "#include <microhttpd.h>\n"}, "core/http.c"),
    ("libyaml outside its file", {"core/x.c": PURPOSE + "#include <yaml.h>\n"}, "core/config.c"),
    ("jansson in storage", {"storage/x.c": PURPOSE + "#include <jansson.h>\n"}, "core/json.h"),
    ("jansson in query", {"query/x.c": PURPOSE + "#include <jansson.h>\n"}, None),
    ("cmocka without what it needs", {"tests/lib/x.c": PURPOSE + "#include <cmocka.h>\n"},
     "tests/lib/test.h"),
    ("system headers are no library", {"core/x.c": PURPOSE + "#include <sys/epoll.h>\n"}, None),
    # Banned calls.
    *[(f"banned: {call}", {"core/x.c": PURPOSE + f"void f(void)\n{{\n\t{call}(a, b);\n}}\n"},
       f"core/x.c:7: {call}() is banned: use {instead}")
      for call, instead in [
          ("strcpy", "snprintf"), ("strcat", "snprintf"), ("strncpy", "snprintf"),
          ("sprintf", "snprintf"), ("gets", "getline"), ("strtok", "strtok_r"), ("atoi", "strtol"),
          ("atol", "strtol"), ("atof", "strtol"), ("alloca", "an arena"), ("rand", "core/rng.h"),
          ("srand", "core/rng.h"), ("system", "posix_spawn"), ("popen", "posix_spawn"),
          ("signal", "sigaction"), ("localtime", "localtime_r"), ("gmtime", "localtime_r"),
          ("tmpnam", "mkstemp"), ("mktemp", "mkstemp"), ("printf", "an error to the caller")]],
    ("calls that only look banned",
     {"agent/x.c": PURPOSE + "void f(void)\n{\n\tsnprintf(a);\n\tstrtok_r(a);\n\tx->signal(a);\n\tx.rand(a);\n"
      "\tmy_system(a);\n\tgmtime_r(a);\n\tprintf(a);\n}\n"}, None),
    ("banned words in comments and strings",
     {"core/x.c": PURPOSE + 'const char *a = "system(1) \\" popen(2)"; // gets(3)\n/* atoi(4)\natoi(5) */\n'}, None),
    ("code behind a string is still read",
     {"core/x.c": PURPOSE + 'int f(void)\n{\n\treturn g("a") + atoi("1");\n}\n'}, "core/x.c:7: atoi()"),
    ("sleep in a test", {"tests/unit/core/x_test.c": PURPOSE + "void f(void)\n{\n\tCHECK(1);\n\tusleep(10);\n}\n"},
     "usleep() is banned: use a wait for the condition"),
    ("sleep outside tests", {"agent/x.c": PURPOSE + "void f(void)\n{\n\tusleep(10);\n}\n"}, None),
    ("printing in the kernel", {"bpf/x.bpf.c": "// SPDX-License-Identifier: GPL-2.0-only\n" + PURPOSE +
                                "int f(void)\n{\n\tbpf_printk(a);\n}\n"}, "bpf_printk() is banned"),
    ("an exception with its reason",
     {"agent/x.c": PURPOSE + "void f(void)\n{\n\t/* tidy-allow: system because the operator wrote the line */\n"
      "\tsystem(a);\n}\n"}, None),
    ("an exception without a reason",
     {"agent/x.c": PURPOSE + "void f(void)\n{\n\t/* tidy-allow: system */\n\tsystem(a);\n}\n"}, "system() is banned"),
    # Purpose, header, licence, smells.
    ("a .c without a purpose", {"core/x.c": '#include "core/hash.h"\n\nint a;\n'}, "core/x.c:1: opens without a purpose"),
    ("a header without a purpose", {"core/hash.h": "#pragma once\n\nint a;\n"}, "core/hash.h:1: opens without"),
    ("a purpose of a word", {"core/x.c": "/* hash */\n"}, "core/x.c:1: opens without"),
    ("a licence is no purpose", {"core/x.c": "// SPDX-License-Identifier: Apache-2.0\nint a;\n"}, "opens without"),
    ("a script without a purpose", {"deploy/go": "#!/bin/bash\nset -e\n"}, "deploy/go:1: opens without"),
    ("a script with one", {"deploy/go": SCRIPT}, None),
    ("a Python file without", {"deploy/x.py": "import os\n"}, "deploy/x.py:1: opens without"),
    ("a Python file with", {"deploy/x.py": '"""An example module that says what it would be for."""\n'}, None),
    ("a page's script without", {"query/x.js": "'use strict';\nlet a;\n"}, "query/x.js:1: opens without"),
    ("a page's script with", {"query/x.js": "'use strict';\n// An example script that says\n// what it would be for.\n"}, None),
    ("a header read twice", {"core/hash.h": PURPOSE + "int a;\n"}, "without #pragma once"),
    ("a kernel program without licence", {"bpf/x.bpf.c": PURPOSE}, "bpf/x.bpf.c:1: kernel program without a licence"),
    ("a kernel program with it", {"bpf/x.bpf.c": "// SPDX-License-Identifier: GPL-2.0-only\n" + PURPOSE}, None),
    ("a struct behind a typedef", {"core/x.c": PURPOSE + "typedef struct x {\n\tint a;\n} x_t;\n"}, "typedef for a struct"),
    ("a typedef of a function", {"core/x.c": PURPOSE + "typedef int (*x_fn)(int);\n"}, None),
    ("a picture that clang-format broke",
     {"core/x.c": PURPOSE + "/*\n * one  goes\n *on two  goes\n */\n"},
     "core/x.c:7: a comment that clang-format broke"),
    ("a pointer is no broken picture", {"core/x.c": PURPOSE + "int *\n*x; /* one\n * two */\n"}, None),
    ("a TODO of nobody", {"core/x.c": PURPOSE + "/* TODO: more */\n"}, "TODO without an owner"),
    ("a TODO of somebody", {"core/x.c": PURPOSE + "/* TODO(ada): more */\n"}, None),
    # The tree.
    ("a generated header", {"bpf/vmlinux.h": HEADER}, "bpf/vmlinux.h:1: generated file"),
    ("an object file", {"core/x.o": "x"}, "core/x.o:1: generated file"),
    ("a skeleton in the tree", {"bpf/x.skel.h": HEADER}, "generated file"),
    ("a program in the tree", {"deploy/x": b"\x7fELF\2\1\1\0"}, "deploy/x:1: program or library"),
    ("a program as a fuzzer's input", {"tests/fuzz/corpus/elf/no_sections": b"\x7fELF\2\1\1\0"}, None),
    ("a name that says nothing", {"core/util.c": PURPOSE}, "core/util.c:1: `util`"),
    ("such a name inside another", {"core/string_helpers.c": PURPOSE}, "`helpers`"),
    ("a longer word around it", {"core/utilization.c": PURPOSE}, None),
    ("a huge source", {"query/x.js": PURPOSE + "// x\n" * 300000}, "query/x.js:1: source of"),
    ("an orphan header", {"core/x.h": HEADER}, "core/x.h:1: no file includes this header"),
    # The log.
    ("an event that is nowhere explained", {"agent/x.c": PURPOSE + 'void f(void)\n{\n\tlog_warn("disk-slow",\n\t\t"x");\n}\n'},
     "agent/x.c:7: event `disk-slow` is on no page"),
    ("one that is", {"agent/x.c": PURPOSE + 'void f(void)\n{\n\tlog_warn("disk-slow", "x");\n}\n',
                     "docs/operating/agent.md": "| `disk-slow` | it is |\n"}, None),
    # Tests.
    ("a test that checks nothing", {"tests/unit/core/x_test.c": PURPOSE + "int main(void)\n{\n}\n"},
     "test without an assertion"),
    ("a test that checks", {"tests/unit/core/x_test.c": PURPOSE + "int main(void)\n{\n\tCHECK(1);\n}\n"}, None),
    ("a check in a comment is none", {"tests/unit/core/x_test.c": PURPOSE + "/* CHECK(1) */\n"},
     "test without an assertion"),
    ("a script that checks nothing", {"tests/e2e/x.sh": SCRIPT + "true\n"}, "tests/e2e/x.sh:1: test without"),
    ("a script that checks", {"tests/e2e/x.sh": SCRIPT + "fail no\n"}, None),
    ("an agent beside other agents", {"tests/e2e/x.py": '"""An example module that says what it would be for."""\ncheck(Agent(1), 1)\n'},
     "tests/e2e/x.py:1: test that samples the whole machine"),
    ("an agent alone", {"tests/e2e/x.py": '"""An example module that says what it would be for.\n\n# holds: machine\n"""\n'
                                          "check(Agent(1), 1)\n"}, None),
    ("a script's library", {"tests/e2e/lib.sh": SCRIPT + "true\n"}, None),
    ("a fuzzer without its entry", {"tests/fuzz/x_fuzz.c": PURPOSE + "int main(void);\n"}, "fuzzer without"),
    ("a test program by another name", {"tests/sim/x.c": PURPOSE + "int main(void)\n{\n\tCHECK(1);\n}\n"},
     "tests/sim/x.c:1: program that no test runs"),
]

TESTS = {
    "tests/unit/core/x_test.c": "unit.core.x",
    "tests/golden/x_test.c": "golden.x",
    "tests/fuzz/x_fuzz.c": "fuzz.x",
    "tests/e2e/x.sh": "e2e.x",
    "tests/e2e/y.py": "e2e.y",
    "tests/crash/x.sh": "crash.x",
    "tests/tidy/tidy_test.py": "tidy.self",
}
NO_TESTS = ["tests/e2e/lib.sh", "tests/e2e/_page.py", "tests/lib/x.c", "tests/e2e/data/x.sh"]


def load():
    """tidy as a module: two hundred times the start of an interpreter would be most of the time."""
    loader = importlib.machinery.SourceFileLoader("tidy", TIDY)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tidy", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


tidy = load()


def run(files, *args):
    """Runs tidy over a tree of `files` and returns (exit code, output)."""
    with tempfile.TemporaryDirectory() as root:
        for path, content in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
        args = [arg.replace("ROOT", root) for arg in args]
        out = io.StringIO()
        with unittest.mock.patch.object(sys, "argv", [TIDY, "--root", root, *args]), contextlib.redirect_stdout(out):
            code = tidy.main()
        return code, out.getvalue()


class Rules(unittest.TestCase):
    def test_every_example(self):
        for shown, files, finding in EXAMPLES:
            with self.subTest(shown):
                code, text = run({**BASE, **files})
                if finding is None:
                    self.assertEqual(code, 0, text)
                else:
                    self.assertEqual(code, 1, text)
                    self.assertIn(finding, text)

    def test_clean_base(self):
        self.assertEqual(run(BASE)[0], 0)

    def test_as_a_program(self):
        with tempfile.TemporaryDirectory() as root:
            for name, wanted in (("x.c", 0), ("x.o", 1)):
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(PURPOSE)
                done = subprocess.run([TIDY, "--root", root], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, wanted, done.stdout + done.stderr)

    def test_every_finding_names_file_line_and_remedy(self):
        for shown, files, finding in EXAMPLES:
            if finding:
                with self.subTest(shown):
                    for line in run({**BASE, **files})[1].splitlines()[:-1]:
                        self.assertRegex(line, r"^[^ :]+:\d+: [^:]+.*[:,] .+")


class Registration(unittest.TestCase):
    files = {**{path: "" for path in TESTS}, **{path: "" for path in NO_TESTS}}

    def listing(self, names):
        return "Test project x\n" + "".join(f"  Test #{i}: {name}\n" for i, name in enumerate(names))

    def test_all_registered(self):
        code, text = run({**self.files, "build/list": self.listing(TESTS.values())},
                         "--ctest-list", "ROOT/build/list")
        self.assertEqual(code, 0, text)

    def test_each_missing_one_is_named(self):
        for path, name in TESTS.items():
            with self.subTest(name):
                names = [other for other in TESTS.values() if other != name]
                code, text = run({**self.files, "build/list": self.listing(names)},
                                 "--ctest-list", "ROOT/build/list")
                self.assertEqual(code, 1, text)
                self.assertIn(f"{path}:1: test {name} is not registered", text)

    def test_an_empty_list_is_an_error(self):
        code, text = run({**BASE, "build/list": "Total Tests: 0\n"}, "--ctest-list", "ROOT/build/list")
        self.assertEqual(code, 1)
        self.assertIn("not a single test", text)


if __name__ == "__main__":
    unittest.main()
