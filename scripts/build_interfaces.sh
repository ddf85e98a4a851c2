#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build ROS 2 interface packages against ROS wheels and install them into the same virtual environment, so that nothing
# has to be sourced later. In a ROS distribution use colcon instead.
#   scripts/build_interfaces.sh VENV SOURCE...       in the order of their dependencies
#   scripts/build_interfaces.sh --missing VENV SOURCE...   only those whose package cannot be imported yet
# Needs a C and a C++ compiler and the headers of the venv's Python.
set -euo pipefail
only_missing=false
if [ "${1:-}" = --missing ]; then only_missing=true; shift; fi
[ $# -ge 2 ] || { echo "usage: $0 [--missing] VENV SOURCE..." >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$1" && pwd); shift
python="$venv/bin/python"
# The wheels mark a process as set up; a mark inherited from another environment would be wrong here.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH
export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

checksum() {
  (cd "$1" && find . -path ./vendor -prune -o -type f \( -name '*.msg' -o -name '*.srv' -o -name '*.action' -o -name package.xml \
    -o -name CMakeLists.txt \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64)
}

build() {
  local source=$1 name=$2 log="$work/$2.log"
  cmake -S "$source" -B "$work/$name" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
    -DCMAKE_INSTALL_PREFIX="$venv" -DPython3_EXECUTABLE="$python" \
    -DCMAKE_PROJECT_INCLUDE="$here/ros_wheels.cmake" >"$log" 2>&1 &&
    cmake --build "$work/$name" >>"$log" 2>&1 && cmake --install "$work/$name" >>"$log" 2>&1
}

for source in "$@"; do
  source=$(cd "$source" && pwd)
  name=$("$python" -c "import sys, xml.etree.ElementTree as e; print(e.parse(sys.argv[1]).findtext('name').strip())" "$source/package.xml")
  stamp="$venv/share/$name/.build_stamp"
  if $only_missing && [ ! -f "$stamp" ] && (cd / && "$python" -c "import $name" 2>/dev/null); then continue; fi
  sum=$(checksum "$source")
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then continue; fi
  echo "building $name"
  if ! build "$source" "$name"; then
    tail -n 60 "$work/$name.log" >&2
    echo "$name: the build failed; are a C++ compiler and Python's headers (python3-dev) installed?" >&2
    exit 1
  fi
  (cd / && "$python" -c "import $name")
  echo "$sum" >"$stamp"
done
