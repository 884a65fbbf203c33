"""Functions have their names however a program was linked and in whatever language it was written: with and
without build-id, at fixed and moved addresses, with segments whose offset is not their address, deleted
libraries, C++, Rust, Go; and interpreters are at least attributed. No frame is an address of a process.

# timeout: 300 s
# holds: machine
"""

import os
import re
import shutil
import signal
import subprocess

from lib_fleet import BIN, Agent, Aggregator, check, cpu_seconds, have, needs_root, run, wait_for

C = """
#include <stdint.h>
static volatile uint64_t sink;
__attribute__((noinline)) void pf_burn(void) { for (int i = 0; i < 100000; i++) sink += i; }
__attribute__((noinline)) void pf_outer(void) { pf_burn(); __asm__ volatile("" ::: "memory"); }
int main(void) { for (;;) pf_outer(); }
"""

LIBRARY = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	void *library = dlopen(argv[1], RTLD_NOW);
	void (*outer)(void) = library ? dlsym(library, "pf_outer") : NULL;
	unlink(argv[1]);
	if (!outer) return 1;
	for (;;) outer();
}
"""

CXX = """
#include <string>
namespace pf { template <class T> struct ring { __attribute__((noinline)) T turn(const std::string &text, T start) {
	volatile T sum = start; for (int i = 0; i < 100000; i++) sum = sum + (T)text[i % text.size()]; return sum; } }; }
int main() { pf::ring<long> r; std::string text = "round"; long n = 0; for (;;) n = r.turn(text, n); }
"""

RUST = """
mod wheel { pub struct Spin<T>(pub T);
impl Spin<u64> { #[inline(never)] pub fn spin(&self) -> u64 { let mut s = self.0; for i in 0..100000u64 { s = std::hint::black_box(s ^ i); } s } } }
fn main() { let w = wheel::Spin(7u64); loop { std::hint::black_box(w.spin()); } }
"""

GO = """
package main
var sink uint64
//go:noinline
func burn() { for i := uint64(0); i < 100000; i++ { sink += i } }
func main() { for { burn() } }
"""

# Kept from run to run: Go's own library, compiled anew, is most of this test's time.
GO_CACHE = os.path.join(os.path.abspath(BIN), "..", "go-cache")

# Name, flags of gcc.
LINKED = [
    ("pie", []), ("nopie", ["-no-pie"]), ("staticpie", ["-static-pie"]), ("static", ["-static"]),
    ("noid", ["-Wl,--build-id=none"]), ("noidstat", ["-static", "-Wl,--build-id=none"]),
    ("separate", ["-Wl,-z,separate-code"]), ("noseparate", ["-Wl,-z,noseparate-code"]),
    ("align", ["-Wl,-z,max-page-size=0x200000"]), ("based", ["-no-pie", "-Wl,-Ttext-segment=0x10000000"]),
    ("stripped", ["-rdynamic", "-s"]), ("lld", ["-fuse-ld=lld"]),
]


class Programs:
    def __init__(self, fleet):
        self.fleet, self.processes, self.expected = fleet, {}, {}

    def write(self, name, text):
        path = os.path.join(self.fleet.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def build(self, *argv, **how):
        return subprocess.run(argv, capture_output=True, check=False, **how).returncode == 0

    def start(self, comm, argv, pattern):
        """`pattern` is to be in nearly every stack of the process."""
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.fleet.undo.append(lambda: (process.kill(), process.wait()))
        self.processes[comm], self.expected[comm] = process, pattern

    def burn(self, seconds):
        """Each runs for so long and is then held still, there for whoever looks: others want the CPUs too."""
        left = dict(self.processes)

        def all_have():
            for comm, process in list(left.items()):
                if cpu_seconds(process.pid) >= seconds:
                    process.send_signal(signal.SIGSTOP)
                    del left[comm]
            return not left

        wait_for(f"everyone to burn {seconds} s", all_have, 120)


def start_all(fleet, programs):
    source = programs.write("pf.c", C)
    at = lambda name: os.path.join(fleet.dir, name)
    gcc = ["gcc", "-O1", "-fno-omit-frame-pointer", source]
    for name, flags in LINKED:
        if programs.build(*gcc, *flags, "-o", at("pf" + name)):
            programs.start("pf" + name, [at("pf" + name)], r"pf_burn")
        else:
            print(f"   not built: {name}")
    loader = programs.write("loader.c", LIBRARY)
    if programs.build(*gcc, "-shared", "-fPIC", "-o", at("libpf.so")) and \
            programs.build("gcc", "-O1", loader, "-o", at("pfloader")):
        programs.start("pfloader", [at("pfloader"), at("libpf.so")], r"pf_burn")
    if programs.build("g++", "-O1", "-fno-omit-frame-pointer", programs.write("pf.cc", CXX), "-o", at("pfcxx")):
        programs.start("pfcxx", [at("pfcxx")], r"pf::ring<long>::turn")
    if have("rustc") and programs.build("rustc", "-O", "-C", "force-frame-pointers=yes", programs.write("pf.rs", RUST),
                                        "-o", at("pfrust")):
        programs.start("pfrust", [at("pfrust")], r"Spin.*::spin")
    else:
        print("   no rustc here: Rust is not looked at")
    go = shutil.which("go") or ("/usr/local/go/bin/go" if os.path.exists("/usr/local/go/bin/go") else None)
    if go and programs.build(go, "build", "-o", at("pfgo"), programs.write("pf.go", GO),
                             env={**os.environ, "GOCACHE": GO_CACHE, "GO111MODULE": "off"}):
        programs.start("pfgo", [at("pfgo")], r"main\.burn")
    else:
        print("   no go here: Go is not looked at")
    for comm, argv in (("python3", ["python3", "-c", "while True: sum(range(1000))"]),
                       ("node", ["node", "-e", "for (let i = 0;; i++) Math.sqrt(i)"])):
        if have(argv[0]):
            programs.start(comm, argv, None)


def functions_have_names(fleet):
    needs_root()
    programs = Programs(fleet)
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", "99", "--interval", "1s", "--state-dir", fleet.dir])
    start_all(fleet, programs)
    programs.burn(0.5)

    def unnamed():
        left = {}
        for comm, pattern in programs.expected.items():
            selector = f'cpu{{exe=~".*/{comm}"}}' if comm.startswith("pf") else f'cpu{{comm=~"{comm}.*"}}'
            answer = fleet.json(aggregator.address, "top", selector, "--since", "1h", "--limit", "0", status=None)
            rows = answer.get("functions", [])
            total = sum(row["flat"] for row in rows)
            named = sum(row["flat"] for row in rows if pattern and re.search(pattern, row["function"]))
            if total == 0 or (pattern and named < 0.8 * total):
                left[comm] = [(row["function"], row.get("module")) for row in rows[:4]]
        return left

    last = {}

    def all_named():
        last.clear()
        last.update(unnamed())
        return not last

    try:
        wait_for("names", all_named, 60)
    except AssertionError as error:
        raise AssertionError(f"without names: {last}") from error

    rows = fleet.folded(aggregator.address, "cpu", "--since", "1h")
    raw = [frame for stack in rows for frame in stack.split(";") if re.search(r"0x[0-9a-f]{6,}|\b7f[0-9a-f]{10}\b", frame)]
    check(not raw, f"frames that are addresses: {raw[:5]}")
    go = fleet.folded(aggregator.address, 'cpu{exe=~".*/pfgo"}', "--since", "1h", status=None)
    if go:
        whole = sum(v for stack, v in go.items() if "runtime.goexit" in stack or "runtime.main" in stack)
        check(whole > 0.8 * sum(go.values()), f"Go's stacks end where goroutines begin: {list(go)[:5]}")
    check(agent.stop() == 0, "the agent stops with 0")


if __name__ == "__main__":
    run(functions_have_names)
