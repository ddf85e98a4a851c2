# SPDX-License-Identifier: Apache-2.0
"""The watch on the way of a moving arm: what enters is noticed, and a clean run is not stopped.

`python -m benchmarks.watching --n 20 --first-seed S [--every 0.2] [--minutes M]`: in each random world a pick is
planned and carried out by physics. Noisy depth images of it, `every` seconds apart, go to `IntrusionWatch`, with the
arm as joint states told it 30 ms earlier. Clean: any image in which something is said to have entered is a nuisance
stop. Then the run is looked at once more with a hand, 8 by 8 by 25 cm, drawn into the depth from a random moment on:
its lower end is in swept space that the camera sees, 15 cm or more from arm and objects. Counted are the images until
it is noticed.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.arm_cell import Floats
from benchmarks.harness import finish, option, table
from benchmarks.recheck_cell import Planned, execute, matrix, planned, solid_matrix
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.manipulation.arm_kinematics import kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.robot import ARM_JOINTS, BASE_LINK, description_file, link_hulls
from spatial_vlm_ros.manipulation.occupancy.swept import box_hull, swept_space
from spatial_vlm_ros.manipulation.occupancy.watching import IntrusionWatch
from spatial_vlm_ros.manipulation.pick_sequence import ObservedAnswer, Offer, Words
from spatial_vlm_ros.manipulation.planned_motion import planned_motion
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.sim.arm.cell import STEP, ArmCell
from spatial_vlm_ros.sim.arm.view import ArmView
from spatial_vlm_ros.sim.arm.worlds import layout
from spatial_vlm_ros.sim.cameras import VGA
from spatial_vlm_ros.types import Resolution, RgbdFrame, Status, Transform
from spatial_vlm_ros.types.proportions import wilson

FIRST_SEED = 91000  # unlike those of tests and of other benchmarks
LATE = 0.03  # s by which joint states are older than the image
MARGIN = 0.02  # metres around all that moves
HAND = np.array((0.08, 0.08, 0.25))
AWAY = 0.15  # metres of the hand from arm and objects when it comes


@dataclass(frozen=True)
class Moment:
    """The cell at one moment, and the joints as they are told then."""

    qpos: Floats
    joints: Floats


def recorded(cell: ArmCell, made: Planned, config: PlanningConfig, every: float) -> list[Moment]:
    """The run of a plan, a moment every so many seconds."""
    moments: list[Moment] = []
    told: deque[Floats] = deque(maxlen=max(1, round(LATE / STEP)))
    steps, step = 0, cell.step

    def stepped() -> None:
        nonlocal steps
        step()
        told.append(cell.joints().position.copy())
        steps += 1
        if steps % round(every / STEP) == 0:
            moments.append(Moment(cell.data.qpos.copy(), told[0]))

    cell.step = stepped  # type: ignore[method-assign]
    try:
        execute(cell, made.plan, config)
    finally:
        del cell.step
    return moments


def watch_of(made: Planned, config: PlanningConfig) -> tuple[IntrusionWatch, Floats, Any]:
    """A fresh watch, tip_T_target, and the swept space."""
    answer = Resolution("", Status.NOT_FOUND, "")  # only its words are shown
    offer = Offer(Words(""), ObservedAnswer(answer, made.seen), made.scene, made.goal, made.plan)
    arm = kinematics_of(str(description_file()), BASE_LINK, config.motion.tip_link, ARM_JOINTS)
    motion = planned_motion(offer, config, arm)
    swept = swept_space(motion, made.scene.target.solid.size, MARGIN)
    put = [box.solid for box in motion.boxes if box.role == "place"]
    tip_T_target = np.linalg.inv(matrix(made.goal.grasps[made.plan.grasp].grasp)) @ solid_matrix(
        made.scene.target.solid
    )
    return IntrusionWatch(swept, made.scene, put), tip_T_target, swept


def robot_at(planner: BuiltinPlanner, joints: Floats, tip_T_target: Floats, size: Sequence[float]) -> list[LinkHull]:
    """Links and held object."""
    held = Transform(BASE_LINK, "held", planner.tip(joints[:7]) @ tip_T_target)
    return [*link_hulls(joints[:7], float(np.clip(joints[7:].sum(), 0.0, 0.08))), LinkHull(held, box_hull(size))]


def with_hand(frame: RgbdFrame, place: Floats) -> RgbdFrame:
    """The frame with a hand whose lower end is at a place."""
    base_T_camera = frame.base_T_camera
    assert base_T_camera is not None
    xs, ys = normalised_axes(frame.camera)
    rays = np.stack(np.broadcast_arrays(xs[None, :], ys[:, None], 1.0), axis=-1)
    ways, eye = rays @ base_T_camera.rotation.T, base_T_camera.translation
    low, high = place - HAND * (0.5, 0.5, 0.0), place + HAND * (0.5, 0.5, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (low - eye) / ways, (high - eye) / ways
        enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
        hit = (enter <= leave) & (enter > 0) & ~(frame.depth < enter)
    noise = np.random.default_rng(0).normal(size=enter.shape) * 0.003 * enter**2
    depth = np.where(hit, enter + noise, frame.depth).astype(np.float32)
    return dataclasses.replace(frame, depth=depth)


def place_of_hand(
    swept: Any, made: Planned, links: Sequence[LinkHull], frame: RgbdFrame, draw: np.random.Generator
) -> Floats | None:
    """Where the hand comes in: swept, seen, and away from arm and objects."""
    assert frame.base_T_camera is not None
    centres = swept.centres()
    own = frame.base_T_camera.inverse().apply(centres)
    K = frame.camera.K
    u, v = K[0, 0] * own[:, 0] / own[:, 2] + K[0, 2], K[1, 1] * own[:, 1] / own[:, 2] + K[1, 2]
    good = (own[:, 2] > 0.2) & (u > 60) & (u < frame.camera.width - 60) & (v > 60) & (v < frame.camera.height - 60)
    good &= centres[:, 2] > max(s.solid.top for s in made.scene.support) + 0.06
    for link in links:
        at = link.base_T_link.apply(link.hull.centre)
        good &= np.linalg.norm(centres - at, axis=1) > link.hull.radius + AWAY
    for obj in (*made.scene.neighbours, made.scene.target):
        good &= np.linalg.norm(centres - obj.solid.centre, axis=1) > max(obj.solid.size) / 2 + 0.05
    chosen = np.flatnonzero(good)
    if not len(chosen):
        return None
    place = centres[draw.choice(chosen)]
    (pixel,) = frame.base_T_camera.inverse().apply(place[None])
    column, row = round(K[0, 0] * pixel[0] / pixel[2] + K[0, 2]), round(K[1, 1] * pixel[1] / pixel[2] + K[1, 2])
    hidden = frame.depth[row, column] < pixel[2] - 0.05
    return None if hidden else np.asarray(place, np.float64)


def one(seed: int, every: float) -> dict[str, Any]:
    """One world: nuisance stops of its clean run, and images until a hand is noticed."""
    config, planner = PlanningConfig(), BuiltinPlanner()
    cell = ArmCell(layout(str(seed)))
    try:
        made = planned(planner, cell, seed, config)
    except SpatialVlmError as error:
        return {"seed": seed, "no_plan": str(error)[:160]}
    watch, tip_T_target, swept = watch_of(made, config)
    moments = recorded(cell, made, config, every)
    draw = np.random.default_rng(seed)
    when = int(draw.integers(len(moments) // 6, max(len(moments) // 6 + 1, len(moments) // 2)))
    view = ArmView(cell, VGA, seed=seed)
    nuisance, spent, images, tried, hand = [], [], 0, 0, None
    second, _, _ = watch_of(made, config)
    noticed = 0
    try:
        for number, moment in enumerate(moments):
            frame, _ = view.look(moment.qpos, cell.layout.base_T_camera, stamp_ns=number + 1)
            assert frame.base_T_camera is not None
            links = robot_at(planner, moment.joints, tip_T_target, made.scene.target.solid.size)
            begun = time.perf_counter()
            found = watch.look(frame.depth, frame.camera, frame.base_T_camera, links)
            spent.append(1000 * (time.perf_counter() - begun))
            images += 1
            if found is not None:
                nuisance.append({"image": number, "words": found.words(), "pixels": found.pixels})
            if number >= when and hand is None and tried < 12:
                tried += 1
                hand = place_of_hand(swept, made, links, frame, draw)
                begins = number
            if hand is not None and not noticed:
                shown = with_hand(frame, hand)
                if second.look(shown.depth, frame.camera, frame.base_T_camera, links) is not None:
                    noticed = number - begins + 1
                elif number - begins >= 15:
                    noticed = -1
    finally:
        view.close()
    return {"seed": seed, "images": images, "nuisance": nuisance, "ms": round(float(np.median(spent)), 1),
            "hand": None if hand is None else [round(float(v), 3) for v in hand], "noticed_after": noticed}  # fmt: skip


def main() -> int:
    """Measure, print and write."""
    n, first = int(option("n", 20)), int(option("first-seed", FIRST_SEED))
    every, minutes = option("every", 0.2), option("minutes", math.inf)
    end, rows = time.monotonic() + 60 * minutes, []
    for seed in range(first, first + n):
        if time.monotonic() > end:
            break
        rows.append(one(seed, every))
    runs = [row for row in rows if "images" in row]
    hands = [row["noticed_after"] for row in runs if row["hand"] is not None]
    stopped = sum(bool(row["nuisance"]) for row in runs)
    found = sorted(count for count in hands if count > 0)
    table(
        "watch on the way of a moving arm",
        ("clean runs", "images", "runs stopped", "hands", "noticed", "images until, median", "most"),
        [(len(runs), sum(row["images"] for row in runs), stopped, len(hands), len(found),
          found[len(found) // 2] if found else "", max(found, default=""))],
    )  # fmt: skip
    measured = {
        "setting": {"worlds": len(rows), "first_seed": first, "every_s": every, "late_s": LATE},
        "clean_runs": len(runs),
        "runs_stopped": wilson(stopped, len(runs)).__dict__ if runs else None,
        "hands": len(hands),
        "noticed": len(found),
        "images_until_noticed": found,
        "rows": rows,
    }
    return finish("watching", measured, [])


if __name__ == "__main__":
    sys.exit(main())
