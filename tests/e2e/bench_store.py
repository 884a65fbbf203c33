"""bench/run store measures on a tiny fleet: its answers are those of a plain sum of the rows, and its JSON is what
bench/store.md says. Says nothing about times."""

import tempfile

from lib_bench import check_table, measure

with tempfile.TemporaryDirectory(prefix="profleet-e2e-") as folder:
    check_table(*measure(folder, "--no-peer"), has_peer=False)
