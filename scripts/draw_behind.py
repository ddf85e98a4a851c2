# SPDX-License-Identifier: Apache-2.0
"""Draw the images of docs/tutorials/behind.md, from the code on that page.

Needs matplotlib (extra `docs`). Run: python -m scripts.draw_behind
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from scripts.images import IMAGES, svg
from scripts.tutorials import FOLDER, blocks_of

GREEN, RED, BLUE, GREY, INK = "#2f8f5b", "#c4553d", "#2866a8", "#8a919c", "#1f2933"
NAMES = {"cup": "cup", "high": "chick on the box", "far": "other chick", "box": "box"}
COLOURS = {"cup": BLUE, "high": RED, "far": GREEN, "box": GREY}
STEP = 0.005  # metres between the positions of the moved chick
ASIDE = -0.09  # metres, sideways position of the moved chick

Array = npt.NDArray[np.float64]


def page_names() -> dict[str, Any]:
    """Names that the Python blocks of the page define."""
    names: dict[str, Any] = {"__name__": "behind"}
    for block in blocks_of(FOLDER / "behind.md"):
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, block.place, "exec"), names)  # noqa: S102 - our own page
    return names


def draw_image(names: dict[str, Any]) -> Figure:
    """Draw the camera's image with boxes, and the rows of their centres."""
    figure = Figure(figsize=(6.4, 3.6))
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(names["frame"].rgb[90:450])
    for one in names["detections"]:
        left, top, right, bottom = one.box_xyxy
        top, bottom = top - 90, bottom - 90
        colour = COLOURS[one.id]
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=2))
        if one.id in ("high", "far", "cup"):
            at = (left - 6, (top + bottom) / 2) if one.id == "high" else (right + 6, (top + bottom) / 2)
            side = "right" if one.id == "high" else "left"
            if one.id == "cup":
                at, side = ((left + right) / 2, bottom + 16), "center"
            axes.text(*at, NAMES[one.id], color="white", ha=side, va="center", fontsize=10,
                      bbox={"fc": colour, "ec": "none", "pad": 2.5})  # fmt: skip
        if one.id in ("high", "far"):
            middle = (top + bottom) / 2
            axes.axhline(middle, color=colour, lw=1.2, ls=(0, (6, 4)))
            axes.text(634, middle - 4, f"row {middle + 90:.0f}", color="white", ha="right", va="bottom", fontsize=10)
    axes.set_axis_off()
    return figure


def draw_ground(names: dict[str, Any]) -> Figure:
    """Draw the view from above: outlines, ahead, near sides, centres, the cone."""
    layout, row, f, r = names["layout"], names["row"], names["f"], names["r"]
    cup = layout.centre[row["cup"], :2]

    def seen(points: Array) -> Array:
        """Coordinates to the right of and ahead of the cup, metres."""
        offset = np.atleast_2d(points) - cup
        return np.column_stack((offset @ r, offset @ f))

    figure = Figure(figsize=(6.4, 5.4))
    axes: Axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    outline = seen(layout.footprint[row["cup"]])
    near, width = outline[:, 1].min(), outline[:, 0].max()
    reach = 0.36
    cone = [(-width, near), (width, near), (width + reach, near + reach), (-width - reach, near + reach)]
    axes.add_patch(Polygon(cone, fc="#d8eee2", ec="none"))
    for name in ("box", "cup", "high", "far"):
        points = seen(layout.footprint[row[name]])
        faint = name == "box"
        axes.add_patch(Polygon(points, fc=COLOURS[name], alpha=0.18 if faint else 0.55, ec=COLOURS[name], lw=1.5))
    axes.annotate("", (0, 0.3), (0, -0.24), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.3})
    axes.text(0.006, 0.285, "ahead (f)", fontsize=10, color=INK)
    axes.text(0.0, -0.262, f"camera, {np.linalg.norm(cup):.2f} m from the cup", fontsize=10, color=INK, ha="center")
    for name, at in (("cup", (-0.125, 0.035)), ("high", (-0.175, -0.2)), ("far", (0.11, 0.245))):
        axes.text(*at, NAMES[name], color=COLOURS[name], fontsize=11, fontweight="bold")
    axes.plot((-0.19, 0.23), (near, near), color=BLUE, lw=1, ls=(0, (4, 3)))
    axes.text(0.232, near, "near side of the cup", color=BLUE, fontsize=9, va="center")
    for name, x, shift in (("far", 0.16, 0.008), ("high", -0.165, -0.008)):
        points = seen(layout.footprint[row[name]])
        centre = seen(layout.centre[row[name], :2])[0]
        begins = points[:, 1].min()
        axes.plot(*centre, marker="o", color=COLOURS[name], ms=4)
        axes.plot((min(x, centre[0]) - 0.01, max(x, centre[0]) + 0.01), (begins, begins), color=COLOURS[name], lw=1,
                  ls=(0, (4, 3)))  # fmt: skip
        axes.annotate("", (x, begins), (x, near), arrowprops={"arrowstyle": "<->", "color": COLOURS[name], "lw": 1.2})
        side = "left" if shift > 0 else "right"
        words = (
            f"near sides: {begins - near:+.3f} m\ncentres: {centre[1]:+.3f} m\nmargin: {names['margin'](name):+.3f} m"
        )
        axes.text(x + shift, (begins + near) / 2, words, color=COLOURS[name], fontsize=9, va="center", ha=side)
    axes.plot(0, 0, marker="o", color=BLUE, ms=4)
    axes.text(-0.33, 0.27, "within 45° of the cup's sides", color="#3c7a58", fontsize=9)
    axes.set_xlim(-0.36, 0.42)
    axes.set_ylim(-0.29, 0.31)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure


def draw_likelihood(names: dict[str, Any]) -> Figure:
    """Draw the likelihood of "behind" while a chick is moved away from the camera, beside the cup."""
    places = np.arange(-0.06, 0.1001, STEP)
    likely, states = [], []
    for x in places:
        (one,) = (c for c in names["asked"](float(x), ASIDE).candidates if c.id == "chick")
        likely.append(one.clauses[0].likelihood)
        states.append(one.clauses[0].state.value)
    colours = {"holds": GREEN, "fails": RED, "unclear": GREY}
    figure = Figure(figsize=(6.4, 3.0))
    axes: Axes = figure.add_axes((0.1, 0.18, 0.87, 0.76))
    axes.plot(places * 100, likely, color=INK, lw=0.8, zorder=1)
    for state, colour in colours.items():
        chosen = [n for n, found in enumerate(states) if found == state]
        axes.scatter(places[chosen] * 100, np.array(likely)[chosen], color=colour, s=22, zorder=2, label=state)
    for limit in (0.15, 0.85):
        axes.axhline(limit, color=GREY, lw=1, ls=(0, (4, 3)))
        axes.text(10.3, limit + 0.02, f"{limit:g}", ha="right", fontsize=9, color=INK)
    axes.set_xlabel("centre of the chick ahead of the centre of the cup, cm", color=INK)
    axes.set_ylabel("likelihood", color=INK)
    axes.set_xlim(-6.5, 10.5)
    axes.legend(loc="center right", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> int:
    """Draw all of them."""
    names = page_names()
    draw_image(names).savefig(IMAGES / "behind_image.jpg", dpi=100, pil_kwargs={"quality": 88})
    for name, figure in (("behind_ground", draw_ground(names)), ("behind_likelihood", draw_likelihood(names))):
        (IMAGES / f"{name}.svg").write_text(svg(figure, "behind", "path"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
