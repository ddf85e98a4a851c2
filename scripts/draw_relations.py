# SPDX-License-Identifier: Apache-2.0
"""Draw the meaning of the relations: one image each for docs/relations.md, from the functions that judge them.

A target of 6 cm is put at every point of a grid, and the relation's likelihood is drawn as contours: green where it
holds, red where it fails, white where it is unclear. Needs matplotlib. Run: python -m scripts.draw_relations
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrow, Polygon, Rectangle

from scripts.images import ROOT, svg
from spatial_vlm_ros.parameters import DecisionConfig, DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs, measure_set, measure_two
from spatial_vlm_ros.types import (
    Detection,
    Distance,
    FrameOfReference,
    OrientedBox,
    PinholeCamera,
    Plane,
    RgbdFrame,
    Scene,
    SceneObject,
    UpSource,
)

FOLDER = ROOT / "docs" / "relations"

HOLDS, FAILS, UNCLEAR, OBJECT = "#7fbf9b", "#f0b3a6", "#ffffff", "#3b4252"
LINE = "#6b7280"
TARGET = 0.06  # metres
AWAY = 0.8  # metres from the viewer to the middle of an image
EYE = 0.5  # metres, height of the viewer above the ground
STEPS = 61  # points along each side of a grid

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Object:
    """A block or a disc.

    Args:
        right: metres from the middle of the image.
        ahead: metres from the middle of the image, away from the viewer.
        base: height of its base above the ground, metres.
        size: metres across, along the view and up.
        disc: whether it is round.
        front: direction that its front faces, to the right and ahead; None without one.
    """

    right: float = 0.0
    ahead: float = 0.0
    base: float = 0.0
    size: tuple[float, float, float] = (0.08, 0.08, 0.1)
    disc: bool = False
    front: tuple[float, float] | None = None


@dataclass(frozen=True)
class Image:
    """One image.

    Args:
        name: name of its file.
        relation: canonical name.
        objects: the anchors.
        target: object put at every point; its own position is not used.
        half: metres from the centre to the sides.
        side: whether it is seen from the side, not from above.
        middle: height of the centre of a side view, metres.
        distance: distance given with the relation, metres.
    """

    name: str
    relation: str
    objects: tuple[Object, ...]
    target: Object = Object(size=(TARGET, TARGET, TARGET))
    half: float = 0.35
    side: bool = False
    middle: float = 0.0
    distance: Distance | None = None


CUP = Object(disc=True)
TRAY = Object(size=(0.36, 0.26, 0.02))
SHELF = Object(base=0.2, size=(0.24, 0.16, 0.02))
BOWL = Object(size=(0.18, 0.18, 0.1))
CABINET = Object(size=(0.3, 0.3, 0.36))
CROWD = (Object(-0.16, -0.1, disc=True), Object(0.14, -0.14, disc=True), Object(0.16, 0.12, disc=True),
         Object(-0.1, 0.15, disc=True))  # fmt: skip
ON_TRAY = Object(base=0.02, size=(TARGET, TARGET, TARGET))
TO_THE_RIGHT = Object(size=(TARGET, TARGET, TARGET), front=(1.0, 0.0))


def images() -> Iterator[Image]:
    """All images, in the order of the document."""
    for name in ("left of", "right of", "behind", "in front of", "next to", "near", "touching", "against"):
        yield Image(name, name, (CUP,))
    yield Image("around", "around", (CUP,), Object(size=(0.26, 0.26, 0.02), disc=True), half=0.7)
    yield Image("far from", "far from", (CUP,), half=0.7)
    yield Image("closer than", "closer than", (CUP,))
    yield Image("farther than", "farther than", (CUP,))
    yield Image("20 cm from", "at a distance from", (CUP,), distance=Distance(0.2))
    yield Image("10 cm right of", "right of", (CUP,), distance=Distance(0.1))
    yield Image("within 10 cm behind", "behind", (CUP,), distance=Distance(0.1, "at most"))
    yield Image("on the other side of", "on the other side of", (CUP, Object(-0.25, -0.1, size=(0.05, 0.05, 0.05))))
    yield Image("opposite", "opposite", (Object(-0.2, 0.05, disc=True),))
    yield Image("between", "between", (Object(-0.2, 0.0, disc=True), Object(0.2, 0.08, disc=True)))
    yield Image("among", "among", CROWD)
    for place in ("edge", "corner", "centre", "end", "left side", "right side", "front", "back"):
        yield Image(f"at the {place} of", f"at the {place} of", (TRAY,), ON_TRAY, half=0.25)
    yield Image("facing", "facing", (CUP,), TO_THE_RIGHT)
    yield Image("facing away from", "facing away from", (CUP,), TO_THE_RIGHT)
    for name, obj in (("on", BOWL), ("above", BOWL), ("below", SHELF), ("under", SHELF), ("higher than", BOWL),
                        ("lower than", SHELF)):  # fmt: skip
        yield Image(name, name, (obj,), side=True, middle=0.2)
    for name in ("inside", "out of"):
        yield Image(name, name, (BOWL,), Object(size=(0.04, 0.04, 0.04)), half=0.16, side=True, middle=0.09)
    held = Object(base=0.06, size=(0.03, 0.03, 0.03))
    yield Image("containing", "containing", (held,), half=0.16, side=True, middle=0.09)
    yield Image("supporting", "supporting", (held,), half=0.16, side=True, middle=0.09)
    for name in ("at the top of", "in the middle of the height of", "at the bottom of", "part of"):
        yield Image(name, name, (CABINET,), half=0.3, side=True, middle=0.24)


def lifted(obj: Object, number: int) -> SceneObject:
    """Make an object in the frame of a level camera: x right, y down, z ahead."""
    width, depth, height = obj.size
    centre = np.array([obj.right, EYE - obj.base - height / 2, AWAY + obj.ahead])
    if obj.disc:
        angles = 2 * np.pi * np.arange(16) / 16
        corners = np.stack((np.sin(angles) * width / 2, 0 * angles, np.cos(angles) * depth / 2), axis=1)
    else:
        corners = np.repeat(((1, 0, 1), (-1, 0, 1), (-1, 0, -1), (1, 0, -1)), 4, axis=0) * (width / 2, 0.0, depth / 2)
    long = np.array([1.0, 0.0, 0.0] if width > depth else [0.0, 0.0, 1.0])
    up = np.array([0.0, -1.0, 0.0])
    front = None if obj.front is None else (obj.front[0], 0.0, obj.front[1])
    return SceneObject(
        detection=Detection(str(number), "thing", 1.0, (0.0, 0.0, 1.0, 1.0), front=front),
        points=centre[None].astype(np.float32),
        surface_centre=centre,
        box=OrientedBox(
            centre,
            np.stack((long, np.cross(up, long), up), axis=1),
            np.array([max(width, depth), min(width, depth), height]),
        ),
        footprint=centre + corners,
        covariance=np.eye(6) * 1e-6,
    )


def layout_of(image: Image) -> tuple[Layout, Array, Array]:
    """The scene of an image, targets first; and the points of its grid along both axes."""
    across = np.linspace(-image.half, image.half, STEPS)
    along = across + image.middle if image.side else across
    target = image.target
    targets = []
    for second in along:
        for right in across:
            ahead, base = (0.0, second - target.size[2] / 2) if image.side else (second, target.base)
            targets.append(Object(float(right), float(ahead), float(base), target.size, target.disc, target.front))
    objects = tuple(lifted(obj, n) for n, obj in enumerate((*targets, *image.objects)))
    camera = PinholeCamera(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), 640, 480)
    frame = RgbdFrame(np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32), camera)
    up = np.array([0.0, -1.0, 0.0])
    scene = Scene(objects, up, UpSource.TF, Plane(up, EYE, 0.001), frame)
    return lay_out(scene, DepthConfig(), RelationConfig()), across, along


def likelihood_of(image: Image, layout: Layout) -> Array:
    """(STEPS, STEPS) likelihood of the relation at each point of the grid; NaN where it is not measured."""
    targets = np.arange(STEPS * STEPS)
    anchors = np.arange(STEPS * STEPS, len(layout))
    view = layout.viewpoint(FrameOfReference.VIEWER)
    relation = RELATIONS[image.relation]
    if relation.group is not None:
        margin, sigma = measure_set(image.relation, layout, targets, anchors)
    elif len(anchors) == 2:
        margin, sigma = measure_two(image.relation, layout, view, targets, anchors[:1], anchors[1:])
    else:
        margin, sigma = RELATIONS[image.relation](Pairs(layout, view, targets, anchors), image.distance)
    margin = margin.reshape(STEPS, STEPS)
    return np.where(np.isnan(margin), np.nan, clause_likelihood(margin, sigma.reshape(STEPS, STEPS)))


def drawn(image: Image) -> str:
    """Draw the image as SVG."""
    layout, across, along = layout_of(image)
    likelihood = likelihood_of(image, layout)
    figure = Figure(figsize=(2.4, 2.4))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    clear = DecisionConfig().holds
    axes.contourf(across, along, likelihood, (0.0, 1.0 - clear, clear, 1.0), colors=(FAILS, UNCLEAR, HOLDS))
    for obj in image.objects:
        _draw_object(axes, obj, image.side)
    low = along[0]
    if image.side:
        axes.plot(across[[0, -1]], (0.0, 0.0), color=LINE, linewidth=1.0)
    else:
        low -= 0.14 * image.half
        _draw_viewer(axes, image, low)
    _draw_scale(axes, image, across, along)
    axes.set(xlim=(across[0], across[-1]), ylim=(low, along[-1]), aspect="equal")
    return svg(figure, "relations", transparent=True)


def _draw_object(axes: Axes, obj: Object, side: bool) -> None:
    width, depth, height = obj.size
    if obj.disc and not side:
        axes.add_patch(Circle((obj.right, obj.ahead), width / 2, color=OBJECT, lw=0))
        return
    corner = (obj.right - width / 2, obj.base if side else obj.ahead - depth / 2)
    tall = height if side else depth
    if width * tall > 0.01:  # objects in or on a large one stay visible
        axes.add_patch(Rectangle(corner, width, tall, facecolor="none", edgecolor=OBJECT, lw=1.5))
    else:
        axes.add_patch(Rectangle(corner, width, tall, color=OBJECT, lw=0))


def _draw_viewer(axes: Axes, image: Image, low: float) -> None:
    """Draw the viewer's symbol below the centre, facing the top of the image."""
    size = 0.1 * image.half
    axes.add_patch(Polygon(((-size, low), (size, low), (0.0, low + 1.3 * size)), color=LINE, lw=0))


def _draw_scale(axes: Axes, image: Image, across: Array, along: Array) -> None:
    """Draw the target, with its front if it has one, in the upper left corner; 10 cm in the upper right one."""
    width, _, height = image.target.size
    tall = height if image.side else width
    inset = 0.05 * image.half
    left, top = float(across[0]) + inset, float(along[-1]) - inset
    axes.add_patch(Rectangle((left, top - tall), width, tall, fill=False, edgecolor=LINE, lw=1.0))
    if image.target.front is not None:
        start = (left + width / 2, top - tall / 2)
        axes.add_patch(FancyArrow(*start, 0.05, 0.0, width=0.004, head_width=0.02, color=LINE, lw=0))
    right = float(across[-1]) - inset
    axes.plot((right - 0.1, right), (top, top), color=LINE, linewidth=1.5)
    axes.text(right - 0.05, top - 0.02 * image.half, "10 cm", ha="center", va="top", fontsize=7, color=LINE)


def file_of(image: Image) -> Path:
    """Path of an image."""
    return FOLDER / (image.name.replace(" ", "_") + ".svg")


def main() -> int:
    """Write all images, and remove those that are no longer drawn."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = {file_of(image): drawn(image) for image in images()}
    for path in FOLDER.glob("*.svg"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(text) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
