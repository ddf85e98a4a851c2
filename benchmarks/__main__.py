# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: every benchmark in a process of its own, so that none warms or slows another."""

from __future__ import annotations

import subprocess
import sys

SPEED = ("parsing", "resolving", "goals", "importing", "lifting", "live")
ACCURACY = ("accuracy", "simulator", "constructed", "ablations", "paraphrases", "second_opinions")


def main() -> int:
    """Run all; 1 when one could not run or, with --check, missed a target of speed."""
    commands = [(name, *sys.argv[1:]) for name in SPEED] + [(name,) for name in ACCURACY]
    codes = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rest]).returncode for name, *rest in commands]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
