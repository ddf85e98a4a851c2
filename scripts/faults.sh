#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run every row of the page of faults and keep what was observed in benchmarks/results/faults.json. The exit code is
# that of the first run of tests that failed; the results are written all the same.
set -uo pipefail
cd "$(dirname "$0")/.."
records=$(mktemp -d)
trap 'rm -rf "$records"' EXIT
code=0
run() {
  SPATIAL_VLM_FAULT_RECORDS=$records .venv/bin/python -m pytest -m "" "$@" || { local ended=$?; ((code)) || code=$ended; }
}
run test/nodes/test_fault_rows.py test/nodes/test_fault_goals.py test/nodes/test_broken_setups.py --numprocesses 2 --dist load
run test/nodes_arm/test_fault_controllers.py test/manipulation/approval/test_fault_pages.py --numprocesses 2 --dist loadfile
.venv/bin/python -m scripts.faults_page "$records" || exit
exit "$code"
