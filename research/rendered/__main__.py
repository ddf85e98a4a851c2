# SPDX-License-Identifier: Apache-2.0
"""Makes the frames of one source: python -m research.rendered SOURCE CHECKOUT OUT [--seed N]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from research.rendered.checkout import checked_out
from research.rendered.making import make
from research.rendered.sources import SOURCES


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 where the frames were written."""
    parser = argparse.ArgumentParser(prog="python -m research.rendered", description=__doc__)
    parser.add_argument("source", choices=sorted(SOURCES))
    parser.add_argument(
        "checkout",
        help="folder of a checkout; or a bare git directory or a URL, of which the pinned commit is taken",
    )
    parser.add_argument("out", type=Path, help="folder for the frames; made, must be empty")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--frames", type=int, default=None, help="how many; as many as the source's list of recipes has by default"
    )
    options = parser.parse_args(arguments)
    source = SOURCES[options.source]
    with tempfile.TemporaryDirectory() as folder, checked_out(source, options.checkout, Path(folder)) as root:
        print(make(source, root, options.out, options.seed, options.frames))
    return 0


if __name__ == "__main__":
    sys.exit(main())
