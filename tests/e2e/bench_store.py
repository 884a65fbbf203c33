"""bench/run store measures on a tiny fleet: its answers are those of a plain sum of the rows, its JSON is what
bench/store.md says, and its profiles name what the questions spend their time on. Says nothing about times.

# timeout: 600 s
# holds: machine
"""

import os
import tempfile

from lib_bench import check_profiles, check_table, measure

# To be profiled one has to be root.
is_root = os.geteuid() == 0
with tempfile.TemporaryDirectory(prefix="profleet-e2e-") as folder:
    text, document = measure(folder, "--no-peer", *(["--profile", "all"] if is_root else []))
    check_table(text, document, has_peer=False)
    if is_root:
        check_profiles(text, document)
    else:
        print("not root: no profiles")
