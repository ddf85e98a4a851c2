#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Set up .venv with the package and the named extras; does nothing when that is already done.
#   scripts/setup.sh [EXTRA...]        extras: ros, sim, bags, test, scale, models, onnx, export, arm, web, browser, clouds, bench, docs
# The extra "ros" installs ROS 2 from wheels and builds this package's interfaces.
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

# Install Debian packages if they are missing and we may, said first; else say what to install.
apt_install() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
  echo "installing Debian packages${sudo:+ with sudo}: ${missing[*]}" >&2
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
has() { case ",$extras," in *,"$1",*) true ;; *) false ;; esac; }
if has ros && [ -n "${ROS_DISTRO:-}" ]; then
  echo "ROS $ROS_DISTRO is sourced here; use it with colcon as the README says, or open a shell without it" >&2
  exit 1
fi
# Open3D links against these even without a window.
if has bench || has clouds; then apt_install libgl1 libegl1 libx11-6 libudev1 libidn2-0 libusb-1.0-0; fi
# MuJoCo draws without a screen through EGL.
if has sim; then apt_install libegl1 libegl-mesa0 libgl1-mesa-dri; fi
# The page on which a person approves is tested in Chromium, by Debian's own driver: no other is downloaded.
without_browser() { echo "tests in a browser will be left out: $1" >&2; }
if has browser; then
  { command -v chromium && command -v chromedriver; } >/dev/null || apt_install chromium chromium-driver ||
    without_browser "no chromium with its chromedriver"
  command -v npm >/dev/null || apt_install npm || without_browser "no npm"
fi
# Worlds for Gazebo are checked by its own reader: the newest one that the distribution has.
sdf_reader() { ldconfig -p 2>/dev/null | grep -q libsdformat || command -v gz >/dev/null; }
newest_sdf_package() { apt-cache pkgnames libsdformat 2>/dev/null | grep -E '^libsdformat[0-9]+-[0-9]+$' | sort -V | tail -n 1; }
install_sdf_reader() {
  local package sudo=""
  [ "$(id -u)" -eq 0 ] || { sudo="sudo -n"; echo "looking for libsdformat: with sudo, if apt-get has no lists yet" >&2; }
  command -v apt-cache >/dev/null || return 1
  package=$(newest_sdf_package)
  [ -n "$package" ] || { $sudo apt-get update -qq 2>/dev/null || true; package=$(newest_sdf_package); }
  [ -n "$package" ] && apt_install "$package"
}
if has test && ! sdf_reader; then
  install_sdf_reader || echo "tests of SDF worlds will be left out: no libsdformat" >&2
fi
# The interfaces are generated as C and compiled.
if has ros && ! { command -v cc && command -v c++; } >/dev/null; then apt_install gcc g++; fi

wanted=$({ cat setup.py requirements.lock; "$venv/bin/python" --version; } | sha256sum | cut -c1-16)
missing=(opencv)
for extra in core "$@"; do
  [ "$(cat "$venv/.installed-$extra" 2>/dev/null)" = "$wanted" ] && continue
  missing+=("$extra")
  if [ "$extra" = ros ]; then missing+=(interfaces); fi
done
if [ ${#missing[@]} -gt 1 ]; then
  names=$(IFS=,; echo "${missing[*]}")
  names=${names//,core/}
  echo "setting up $venv ($names)"
  # By hashes, but for PyTorch: the index that the user chose has its build for CPUs or a GPU.
  locked=$(mktemp)
  trap 'rm -f "$locked"' EXIT
  awk -v wanted=",core,$names," '/^# for / { keep = 0; for (n = 3; n <= NF; n++) keep += index(wanted, "," $n ",") }
    keep' requirements.lock >"$locked"
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
  "${pip[@]}" --require-hashes --no-deps --requirement "$locked"
  case ",$names," in
    *,models,* | *,vlm,* | *,adapt,* | *,export,* | *,train,*)
      "${pip[@]}" --constraint <(grep -oE '^[a-z0-9._-]+==[^ ;]+( ;[^\\]*)?' "$locked") "$(grep -oE 'torch==[0-9.]+' setup.py)" ;;
  esac
  rm -rf spatial_vlm_ros.egg-info # of an earlier set-up: it would hide what is installed
  "${pip[@]}" --no-deps --no-build-isolation --editable .
  for extra in "${missing[@]}"; do echo "$wanted" > "$venv/.installed-$extra"; done
  echo "packages, downloads included: $SECONDS s"
fi

# The accessibility rules that the page is held against; a tool of tests, never part of the package.
axe=4.14.1
axe_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
fetch_axe() {
  local to="$venv/share/axe-core-$axe" fetched
  fetched=$(mktemp -d)
  npm pack --silent --pack-destination "$fetched" "axe-core@$axe" >/dev/null &&
    echo "$axe_sha256  $fetched/axe-core-$axe.tgz" | sha256sum --check --quiet &&
    mkdir -p "$to" && tar -xzf "$fetched/axe-core-$axe.tgz" -C "$to" --strip-components=1 package/LICENSE package/axe.min.js
  local done=$?
  rm -rf "$fetched"
  return $done
}
if has browser && [ ! -f "$venv/share/axe-core-$axe/axe.min.js" ]; then
  fetch_axe || without_browser "axe-core $axe could not be fetched"
fi

started=$SECONDS
if has ros; then
  scripts/build_interfaces.sh --missing "$venv" interfaces/vendor/tf2_msgs interfaces/vendor/vision_msgs
  # What planners and controllers of an arm speak, in the order of their dependencies; minutes of compiling.
  if has arm; then
    arm_messages=(control_msgs controller_manager_msgs franka_msgs ur_msgs object_recognition_msgs octomap_msgs moveit_msgs)
    scripts/build_interfaces.sh --missing "$venv" "${arm_messages[@]/#/interfaces/vendor/}"
  fi
  scripts/build_interfaces.sh "$venv" interfaces
fi
[ $((SECONDS - started)) -lt 5 ] || echo "messages, compiled: $((SECONDS - started)) s"
