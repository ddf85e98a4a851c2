# SPDX-License-Identifier: Apache-2.0
"""What the scripts share that draw images for the docs: the demo's frame, JPEG files, and SVG that never changes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spatial_vlm_ros.sim.tabletop import noisy
from spatial_vlm_ros.types import Detection, Rgb, RgbdFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
_LONG = re.compile(r"(?<!scale\()\d+\.\d{3,}")  # not the size of letters


def demo_frame(world: str) -> tuple[RgbdFrame, tuple[Detection, ...]]:
    """Render a world of the demo with the noise of a sensor; the detections are true."""
    from spatial_vlm_ros.sim.settled import DEMO_WORLDS
    from spatial_vlm_ros.sim.tabletop import VGA

    with DEMO_WORLDS[world]() as simulated:
        seen = simulated.render(VGA)
    return noisy(seen.frame, np.random.default_rng(0)), tuple(seen.detections)


def save_jpeg(rgb: Rgb, name: str, quality: int = 88) -> None:
    """Write docs/images/NAME.jpg."""
    path = IMAGES / f"{name}.jpg"
    cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def svg(figure: Figure, salt: str, fonttype: str = "none", transparent: bool = False) -> str:
    """Write a figure as SVG text that is the same each time.

    Args:
        figure: the figure.
        salt: seed of the names in the file.
        fonttype: "none" for letters as text, "path" for outlines.
        transparent: whether it has no background.
    """
    import matplotlib as mpl

    settings = {"svg.hashsalt": salt, "svg.fonttype": fonttype, "path.simplify_threshold": 0.3}
    out = io.StringIO()
    with mpl.rc_context(settings):
        plain = {"Date": None, "Creator": None}
        figure.savefig(out, format="svg", metadata=plain, transparent=transparent)
    text = re.sub(r"[ \t]+\n", "\n", out.getvalue())
    return _LONG.sub(lambda number: f"{float(number[0]):.2f}", text)
