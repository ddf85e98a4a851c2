#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#   scripts/test.sh fast       what needs neither a live graph nor models, by a worker for each core, two to four
#   scripts/test.sh            that and the models, then the live tests by two or three workers: a ROS domain for each test
#   scripts/test.sh research   the experiments' own tests
#   scripts/test.sh all        everything, sweeps (marked slow) and research included
#   scripts/test.sh ARGS...    one plain pytest, of everything unless ARGS name a path
# A later run follows one that failed, too; the exit code is that of the first that failed.
set -uo pipefail
cd "$(dirname "$0")/.."
pytest=(.venv/bin/python -m pytest)
workers() { local n=$(($(nproc) - $1)); echo $((n < 2 ? 2 : n > 4 ? 4 : n)); }
parallel=(--dist loadfile --numprocesses "$(workers 0)")
side=(--dist loadfile --numprocesses "$(workers 1)") # a live test is several processes; one whole arm at a time
# A node that was killed leaves shared memory behind; with hundreds of such files, clocks stand still for seconds.
clean() { [ ! -f .venv/tools/fastdds/fastdds.py ] || .venv/bin/python .venv/tools/fastdds/fastdds.py shm clean >/dev/null; }
live=(test/labelling_page test/manipulation/approval test/launcher test/nodes test/nodes_arm test/system)
models=(test/perception/backends test/vlm) # torch, and the model classes of transformers at a small size
code=0
run() { "${pytest[@]}" "$@" || { local ended=$?; ((code)) || code=$ended; }; }
case "${1:-}" in
  fast) run test "${parallel[@]}" "${live[@]/#/--ignore=}" "${models[@]/#/--ignore=}" ;;
  "") run test "${parallel[@]}" "${live[@]/#/--ignore=}"; clean; run "${live[@]}" "${side[@]}" ;;
  research) run research/test "${parallel[@]}" -m "" ;;
  all) run test research/test "${parallel[@]}" "${live[@]/#/--ignore=}" -m ""; clean; run "${live[@]}" "${side[@]}" -m "" ;;
  *) run --override-ini "testpaths=test research/test" "$@" ;;
esac
exit "$code"
