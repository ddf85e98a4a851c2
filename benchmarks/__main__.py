# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: every benchmark in a process of its own, so that none warms or slows another."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("parsing", "resolving", "importing", "lifting")


def main() -> int:
    """Run all; 1 when one could not run or, with --check, missed a target."""
    codes = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]).returncode for name in NAMES]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
