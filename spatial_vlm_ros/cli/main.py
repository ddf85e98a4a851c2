# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm`: group of all commands. Exit codes: 0 answered, 3 refused, 1 failed, 2 usage error."""

from __future__ import annotations

from typing import NoReturn

import click

from spatial_vlm_ros import __version__
from spatial_vlm_ros.cli.group import ANSWERED, Group

VERBS = (
    "ask", "audit", "doctor", "enrol", "evidence", "fault", "hand-eye", "models", "parse", "pick", "probe", "record",
    "replay", "resolve", "schema", "teach", "up",
)  # fmt: skip
"""The commands; the lab adds its own. `cli/VERB.py` has each one, and is imported when it is called."""


_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Group, verbs=VERBS, context_settings=_HELP)
@click.version_option(__version__, prog_name="spatial-vlm")
def main() -> None:
    """Find which object a sentence means and where it is, in metres.

    \b
    Examples:
      spatial-vlm parse "grab me the chick behind the cup"
      spatial-vlm resolve "the can behind the cup" --rgb rgb.png --depth depth.png \\
          --camera-info camera_info.json --detections detections.json --out answer.png
      spatial-vlm resolve --frames recordings/ --json
      spatial-vlm teach bonnet f1 --taught objects.taught --at 320,240
      spatial-vlm label --frames recordings/
      spatial-vlm evaluate --frames recordings/
      spatial-vlm compare recordings/f1 "the chick behind the cup" --judge "qwen-vl model=/models/Qwen3-VL-4B"
      spatial-vlm replay run1 "the can behind the cup"
      spatial-vlm up sim
      spatial-vlm ask "grab me the chick behind the cup"
      spatial-vlm doctor
    """


def run() -> NoReturn:
    """Run the program and exit; entry point."""
    main(prog_name="spatial-vlm")
    raise SystemExit(ANSWERED)
