#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All tests: first those without a live graph, by two workers, then the live ones, one after the other, for they
# measure what arrives in time. The second run follows a first that failed, too. With arguments: one plain pytest, of
# everything unless they name a path.
set -uo pipefail
cd "$(dirname "$0")/.."
pytest=(.venv/bin/python -m pytest)
[ $# -gt 0 ] && exec "${pytest[@]}" --override-ini "testpaths=test research/test" "$@"
live=(test/manipulation/approval test/launcher test/nodes test/nodes_arm test/system)
"${pytest[@]}" test research/test --numprocesses 2 --dist loadfile "${live[@]/#/--ignore=}"
first=$?
"${pytest[@]}" "${live[@]}"
second=$?
exit $((first ? first : second))
