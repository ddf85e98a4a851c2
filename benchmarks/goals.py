# SPDX-License-Identifier: Apache-2.0
"""Claim: goals and planning scene of a resolved target take at most 20 ms with 30 objects on the table, using boxes.

Only the steps after the answer are timed: exporting the scene (padding, support, keep-outs), and building the pick goal
of an object without heading, which has the most candidates. With grasps on the measured surface the limit is 1.5 s.
Other benchmarks measure lifting and resolving. The baseline is a plain loop over pairs of boxes for the same collision
checks, with the same separating axes.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from functools import partial

from benchmarks.harness import Claim, alternate, finish, repetitions, table
from benchmarks.scenes import camera, tabletop
from spatial_vlm_ros.errors import GoalError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.planning.gripper import Tip, links
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings, surroundings_of
from spatial_vlm_ros.parameters import GripperConfig, PlanningConfig, ResolverConfig, WorkspaceConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Resolution, Scene

OBJECTS = 30
SEED = 10_000
LENS = camera(1280, 720, 640.0)
LIMIT_MS, SURFACE_MS = 20.0, 1500.0
CONFIG = PlanningConfig(
    gripper=GripperConfig(opening_max=0.14),
    workspace=WorkspaceConfig(keep_out="person -2 1 0 2 2 2; shelf -2 -2 1.5 2 2 1.6"),
)


def observed() -> tuple[Scene, Resolution]:
    """A scene of 30 objects, and an answer whose target has no heading."""
    _, seen, frame = tabletop(SEED, OBJECTS, LENS, 1.5, region=(1.2, 0.8))
    config = ResolverConfig()
    scene = build_scene(frame, seen.detections, config.depth, config.lift)
    for label in ("cup", "can", "mug"):
        for order in ("nearest", "leftmost", "rightmost", "farthest"):
            answer = Resolver().resolve(frame, f"the {order} {label}", seen.detections)
            if answer.target is not None and not answer.target.yaw_known and not answer.target.truncated:
                return scene, answer
    sys.exit("no thing without heading was found in this scene")


def goals(scene: PlanningScene) -> int:
    """Number of free grasps."""
    try:
        return len(pick_goal(scene, CONFIG).grasps)
    except GoalError:
        return 0


def export(scene: Scene, answer: Resolution) -> PlanningScene:
    """The planning scene of an answer."""
    return planning_scene(surroundings_of(scene, answer), CONFIG)


def export_and_goals(scene: Scene, answer: Resolution) -> None:
    """The work of the claim with the measured surface."""
    goals(export(scene, answer))


def boxes_alone(seen: Surroundings) -> None:
    """The work of the claim with boxes: the surroundings have no measured surface."""
    goals(planning_scene(dataclasses.replace(seen, target_points=None), CONFIG))


def loop_over_pairs(scene: PlanningScene) -> float:
    """Least distance of all swept links on the same number of paths to all objects, pair by pair."""
    least, target = math.inf, scene.target.solid
    around = [obj.padded for obj in (*scene.neighbours, *scene.keep_outs, *scene.support)]
    for number in range(CONFIG.goal.yaws):
        yaw = math.pi * number / CONFIG.goal.yaws
        c, s = math.cos(yaw), math.sin(yaw)
        for approach in ((0.0, 0.0, -1.0), (-s, c, 0.0), (s, -c, 0.0)):
            tip = Tip(target.centre, approach, (c, s, 0.0))
            for way in (tip.back(CONFIG.goal.approach), (0.0, 0.0, CONFIG.goal.retreat)):
                for link in links(CONFIG.gripper, tip, 0.08, way):
                    least = min(least, *(_gap(link, other) for other in around))
    return least


def _gap(one: Solid, other: Solid) -> float:
    apart = max(one.bottom - other.top, other.bottom - one.top)
    dx, dy = other.centre[0] - one.centre[0], other.centre[1] - one.centre[1]
    turn = other.yaw - one.yaw
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    for yaw, own, its in ((one.yaw, one.size, other.size), (other.yaw, other.size, one.size)):
        c, s = math.cos(yaw), math.sin(yaw)
        along, across = abs(dx * c + dy * s), abs(dy * c - dx * s)
        apart = max(apart, along - own[0] / 2 - its[0] / 2 * cos - its[1] / 2 * sin)
        apart = max(apart, across - own[1] / 2 - its[0] / 2 * sin - its[1] / 2 * cos)
    return apart


def main() -> int:
    """Measure, print and write."""
    rounds = repetitions()
    scene, answer = observed()
    exported = export(scene, answer)
    found = goals(exported)
    times = alternate(
        {
            "boxes: scene and pick goal": partial(boxes_alone, surroundings_of(scene, answer)),
            "surface: export and pick goal": partial(export_and_goals, scene, answer),
            "export alone": partial(export, scene, answer),
            "collisions, pair by pair": partial(loop_over_pairs, exported),
        },
        rounds,
    )
    table(
        f"goals for one of {len(exported.neighbours) + 1} things; {found} grasps are free",
        ("step", "median ms", "p95 ms"),
        [(name, time.median_ms, time.p95_ms) for name, time in times.items()],
    )
    both = times["boxes: scene and pick goal"].median_ms
    measured = {
        "setting": {
            "things": len(exported.neighbours) + 1,
            "seed": SEED,
            "yaws": CONFIG.goal.yaws,
            "free_grasps": found,
        },
        "steps": {name: time.summary() for name, time in times.items()},
        "ratio_to_pair_by_pair": round(times["collisions, pair by pair"].median_ms / both, 2),
    }
    claims = [
        Claim("30 objects: planning scene and pick goal by boxes", both, LIMIT_MS, "ms"),
        Claim("the same with the surface", times["surface: export and pick goal"].median_ms, SURFACE_MS, "ms"),
    ]
    return finish("goals", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
