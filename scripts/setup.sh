#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set up .venv with the package and the named extras; does nothing when that is already done.
#   scripts/setup.sh [EXTRA...]        extras: test, bench
# PYTHON=python3.12 scripts/setup.sh   picks the interpreter (3.10 or newer).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=.venv
extras=$(IFS=,; echo "$*")

"$python" - <<'PY' || { echo "Python 3.10 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 10))
PY

# Install Debian packages if they are missing and we may; else say what to install.
apt_install() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
  if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "${missing[@]}" >/dev/null
  else
    echo "please install: ${missing[*]}" >&2
    return 1
  fi
}

if [ ! -x "$venv/bin/python" ]; then
  "$python" -m venv "$venv" 2>/dev/null || { rm -rf "$venv"; apt_install python3-venv; "$python" -m venv "$venv"; }
fi
# Open3D links against these even without a window.
case ",$extras," in *,bench,*) apt_install libgl1 libegl1 libx11-6 libudev1 libidn2-0 libusb-1.0-0 ;; esac

wanted=$({ cat setup.py; "$venv/bin/python" --version; } | sha256sum | cut -c1-16)
for extra in core "$@"; do
  stamp="$venv/.installed-$extra"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && continue
  target=".[opencv]"; [ "$extra" = core ] || target=".[$extra]"
  echo "setting up $venv ($extra)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$target"
  echo "$wanted" > "$stamp"
done
