# SPDX-License-Identifier: Apache-2.0
"""Draw the images of docs/planning.md: charts of measured runs, and the approval image of an unnamed neighbour.

The charts are of benchmarks/results/watching.json and unnamed.json. Needs matplotlib and the extras `sim` and `arm`.

    python -m scripts.draw_obstacles            # all three
    python -m scripts.draw_obstacles --charts   # without the simulated world
"""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scripts.images import IMAGES, ROOT, save_jpeg, svg

RESULTS = ROOT / "benchmarks" / "results"
BLUE, GREEN, ORANGE, RED, GREY, LIGHT = "#0072b2", "#009e73", "#e69f00", "#d55e00", "#999999", "#dddddd"
TOUCHED = 1.0  # N
SEED, GAP = 95000, 0.03  # the drawn world


def intrusions(rows: list[dict[str, Any]]) -> Figure:
    """Draw one line per intruding object: when it was noticed, when the arm stood, and any contact."""
    came = [row for row in rows if row["kind"] == "intrusion" and "object" in row]
    came.sort(key=lambda row: row["without_watch"]["touched_s"] or np.inf)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(came):
        without = row["without_watch"]["touched_s"]
        axes.plot((0.0, without or 2.0), (number, number), color=LIGHT, lw=1.0, zorder=1)
        axes.plot(row["noticed_s"] or np.nan, number, "|", color=BLUE, ms=7)
        axes.plot(row["stood_s"] or np.nan, number, "o", color=GREEN, ms=4)
        axes.plot(without or np.nan, number, "x", color=RED, ms=4)
        axes.plot(row["touched_s"] or np.nan, number, "D", color="black", ms=5)
    marks = [
        ("|", BLUE, "image that shows it"),
        ("o", GREEN, "the arm stands"),
        ("x", RED, "contact without the watch"),
    ]
    if any(row["touched_s"] is not None for row in came):
        marks.append(("D", "black", "contact with the watch"))
    axes.legend(handles=[Line2D([], [], marker=m, color=c, ls="", label=t) for m, c, t in marks], loc="lower right")
    axes.set(
        xlabel="seconds after an object has entered the swept space", ylabel="intrusions", xlim=(0, None), yticks=[]
    )
    axes.grid(axis="x", alpha=0.3)
    return figure


def neighbours(rows: list[dict[str, Any]]) -> Figure:
    """Draw how runs with a neighbour at each distance ended, with and without occupied space."""
    staged = [row for row in rows if "with" in row]
    gaps = sorted({row["gap_m"] for row in staged})
    kinds = (("delivered, nothing touched", GREEN), ("refused, with the reason", GREY),
             ("not delivered, nothing else touched", ORANGE), ("touched, above 1 N", RED))  # fmt: skip
    figure = Figure(figsize=(6.4, 3.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, side, title in zip(panels, ("with", "without"), ("with obstacles from depth", "without"), strict=True):
        for place, gap in enumerate(gaps):
            ends = [ended(row[side]) for row in staged if row["gap_m"] == gap]
            below = 0
            for number, (_, colour) in enumerate(kinds):
                count = ends.count(number)
                axes.bar(place, count, bottom=below, color=colour, width=0.7)
                if count:
                    axes.text(place, below + count / 2, str(count), ha="center", va="center", fontsize=8)
                below += count
        axes.set(title=title, xticks=range(len(gaps)), xticklabels=[f"{1000 * gap:.0f} mm" for gap in gaps])
    panels[0].set_ylabel("worlds")
    handles = [Line2D([], [], marker="s", color=colour, ls="", label=words) for words, colour in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def ended(end: dict[str, Any]) -> int:
    """0: delivered without touching, 1: refused, 2: not delivered, 3: touched."""
    if end["ended"] == "refused":
        return 1
    if end["force_N"] > TOUCHED:
        return 3
    return 0 if end["ended"] == "delivered" else 2


def drawing() -> np.ndarray:
    """Draw the motion over the camera image, as in the approval question; RGB."""
    from benchmarks.recheck_cell import planned
    from benchmarks.unnamed import beside, named
    from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
    from spatial_vlm_ros.manipulation.planning.surroundings import SceneImage
    from spatial_vlm_ros.output.plan_images import draw_on_scene
    from spatial_vlm_ros.parameters import PlanningConfig
    from spatial_vlm_ros.sim.arm.cell import ArmCell
    from spatial_vlm_ros.sim.arm.view import ArmView
    from spatial_vlm_ros.sim.arm.worlds import layout
    from spatial_vlm_ros.sim.cameras import VGA
    from spatial_vlm_ros.sim.kinds import make
    from spatial_vlm_ros.sim.model import scaled

    config, planner, world = PlanningConfig(), BuiltinPlanner(), layout(str(SEED))
    cell = ArmCell(world)
    model = scaled(make("can", np.random.default_rng(1)), 0.85)
    staged = beside(world, cell, planned(planner, cell, SEED, config), model, GAP)
    if staged is None:
        raise SystemExit(f"world {SEED} has no room for a neighbour")
    cell = ArmCell(staged)
    made = planned(planner, cell, SEED, config, named)
    view = ArmView(cell, VGA, seed=SEED)
    frame, _ = view.look(cell.data.qpos.copy(), cell.layout.base_T_camera)
    view.close()
    jpeg = base64.b64encode(cv2.imencode(".jpg", frame.rgb[..., ::-1])[1].tobytes()).decode()
    k = frame.camera.K
    intrinsics = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))
    image = SceneImage("", made.seen.stamp_ns, frame.camera.width, frame.camera.height, intrinsics, jpeg)
    made = dataclasses.replace(made, seen=dataclasses.replace(made.seen, image=image))
    return draw_on_scene(made.motion(config), image.data)


def main() -> int:
    """Write the images."""
    charts = ("intrusions", "watching", intrusions), ("unnamed_neighbours", "unnamed", neighbours)
    for name, result, draw in charts:
        figure = draw(json.loads((RESULTS / f"{result}.json").read_text())["rows"])
        (IMAGES / f"{name}.svg").write_text(svg(figure, name), encoding="utf-8")
    if "--charts" not in sys.argv:
        save_jpeg(drawing(), "unnamed_neighbour")
    return 0


if __name__ == "__main__":
    sys.exit(main())
