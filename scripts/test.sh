#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#   scripts/test.sh fast       what needs no process, ROS graph, browser or model, by a worker for each core, two to four
#   scripts/test.sh            that, then the tests marked live, by three or four workers: a ROS domain for each graph
#   scripts/test.sh research   the experiments' own tests
#   scripts/test.sh all        everything, sweeps (marked slow) and research too, in parts; a part that has passed on
#                              this very state of the files is not run again, so a run that was broken off goes on
#   scripts/test.sh ARGS...    one plain pytest, of everything unless ARGS name a path
# A later run follows one that failed, too; the exit code is that of the first that failed.
set -uo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # else each process that a test starts compiles the package anew
pytest=(.venv/bin/python -m pytest)
workers() { local n=$(($(nproc) + $1)); echo $((n < 2 ? 2 : n > 4 ? 4 : n)); }
parallel=(--dist loadfile --numprocesses "$(workers 0)")
side=(--dist loadfile --numprocesses "$(workers 1)") # a live test often waits; one whole arm at a time
# A node that was killed leaves shared memory behind; with hundreds of such files, clocks stand still for seconds.
clean() { [ ! -f .venv/tools/fastdds/fastdds.py ] || .venv/bin/python .venv/tools/fastdds/fastdds.py shm clean >/dev/null; }
code=0
run() { "${pytest[@]}" "$@" || { local ended=$?; ((code)) || code=$ended; false; }; }
state() { { git rev-parse HEAD; git diff HEAD; git ls-files --others --exclude-standard; } | sha256sum | cut -c1-16; }
part() {
  local name=$1 passed
  passed="out/passed/$1-$(state)"
  shift
  if [ -f "$passed" ]; then echo "$name: passed before, on these files"; else
    clean
    if run "$@"; then mkdir -p out/passed && touch "$passed"; fi
  fi
}
clean
case "${1:-}" in
  fast) run test "${parallel[@]}" -m "not live and not slow" ;;
  "") run test "${parallel[@]}" -m "not live and not slow"; clean; run test "${side[@]}" -m "live and not slow" ;;
  research) run research/test "${parallel[@]}" -m "" ;;
  all)
    part core test "${parallel[@]}" -m "not live"
    part research research/test "${parallel[@]}" -m ""
    part models test/perception/backends test/vlm "${parallel[@]}" -m "live"
    part live test "${side[@]}" -m "live and not slow" --ignore=test/perception/backends --ignore=test/vlm
    part live-slow test "${parallel[@]}" -m "live and slow" --ignore=test/perception/backends --ignore=test/vlm
    ;;
  *) run --override-ini "testpaths=test research/test" "$@" ;;
esac
exit "$code"
