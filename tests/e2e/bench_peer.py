"""bench/run store beside DuckDB on a tiny fleet: both give the same answers. Installs nothing: where DuckDB is not there
already, from a measurement, there is nothing to stand beside."""

import os
import sys
import tempfile

from lib_bench import check_table, measure
from lib_fleet import SOURCE, skip

sys.path.insert(0, os.path.join(SOURCE, "bench"))
import store_table  # noqa: E402

if not store_table.duckdb_find():
    skip("DuckDB is not installed; bench/run store installs it from the npm registry")
with tempfile.TemporaryDirectory(prefix="profleet-e2e-") as folder:
    check_table(*measure(folder), has_peer=True)
