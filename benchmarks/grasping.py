# SPDX-License-Identifier: Apache-2.0
"""Number of objects in real frames that get a grasp, by hand and kind, and why the others get none.

Every detection of every frame is a target once for each hand: the Franka Hand (80 mm) and a Robotiq 2F-85 (85 mm). A
third hand that opens 140 mm is counted separately: it shows how many grasps fail only because of the hand's width.
Detections are those of the frames, so no detector is measured. Frames without `base_T_camera` get one from the support
plane: z up, origin on the support. The workspace is unlimited. This script only counts; a person judges on the drawings
of --draw whether a grasp is sensible.

    python -m benchmarks.grasping                       frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.grasping --folder DIR          another folder of frames; widths are compared with truth.json
    python -m benchmarks.grasping --draw DIR            an image for each target and hand
    python -m benchmarks.grasping --frames 1            the first frame only
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import REAL_FRAMES, arguments, finish, frames_of
from spatial_vlm_ros import load_frame
from spatial_vlm_ros.errors import GoalError, SpatialVlmError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.scene import planning_scene
from spatial_vlm_ros.manipulation.planning.surroundings import surroundings_of
from spatial_vlm_ros.parameters import GripperConfig, PlanningConfig, ResolverConfig, WorkspaceConfig
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.types import Resolution, RgbdFrame, Scene, SceneObject, Status, Transform
from spatial_vlm_ros.types.proportions import wilson

# Robotiq 2F-85, rounded from its data sheet: stroke 85 mm, fingertips 22 mm wide, 149 mm across its open bars, which
# count as palm. Only a stand-in for this count, not for a robot.
ROBOTIQ = GripperConfig(
    opening_max=0.085, finger_length=0.045, finger_thickness=0.014, finger_width=0.022, finger_beyond=0.01,
    palm_width=0.149, palm_thickness=0.075, palm_depth=0.105, tip_z=0.14, tip_yaw_deg=0.0,
)  # fmt: skip
# A stand-in for a wide hand such as a 2F-140: the same with a stroke of 140 mm and longer fingers.
WIDE = dataclasses.replace(ROBOTIQ, opening_max=0.14, palm_width=0.204, finger_length=0.07)
HANDS = {"franka": GripperConfig(), "robotiq_2f85": ROBOTIQ, "wide_140": WIDE}
COUNTED = ("franka", "robotiq_2f85")  # together under "all"
ANYWHERE = WorkspaceConfig(x_min=-9.0, x_max=9.0, y_min=-9.0, y_max=9.0, z_min=-9.0, z_max=9.0)
FURNITURE = {"table", "cabinet", "shelf", "stove", "microwave", "drawer", "door"}  # never taken
ZOOM, BESIDE = 3, 120  # of a drawing: times, pixels around the object
COLOURS = {"top_down": (60, 220, 60), "side": (255, 160, 40), "slanted": (40, 200, 255), "rim": (255, 60, 255),
           "handle": (60, 60, 255)}  # fmt: skip

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Try:
    """One target with one hand.

    Args:
        frame, target, label, hand: names of the frame, the target, its label and the hand.
        goal: the pick goal found, or None.
        kind: most frequent reason if nothing was found; for another refusal its status.
        words: the same in words.
        ms: milliseconds for scene export and pick goal.
    """

    frame: str
    target: str
    label: str
    hand: str
    goal: PickGoal | None
    kind: str
    words: str
    ms: float

    @property
    def row(self) -> dict[str, Any]:
        """As kept in JSON."""
        best = None if self.goal is None else self.goal.grasps[0]
        return {
            "frame": self.frame, "target": self.target, "label": self.label, "hand": self.hand,
            "way": None if best is None else best.way, "width": None if best is None else round(best.width, 4),
            "refused": self.kind or None, "words": self.words or None,
        }  # fmt: skip


def with_base(frame: RgbdFrame, scene: Scene) -> RgbdFrame:
    """Add a planning frame from the support plane if the frame has none: z up, below the camera."""
    if frame.base_T_camera is not None:
        return frame
    up = scene.up / np.linalg.norm(scene.up)
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 0.1:
        ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up
    ahead /= np.linalg.norm(ahead)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack((ahead, np.cross(up, ahead), up))
    matrix[2, 3] = scene.support.offset if scene.support is not None else 0.0
    return dataclasses.replace(frame, base_T_camera=Transform("base_link", frame.frame_id, matrix))


def scenes(folder: Path, count: int) -> Iterator[tuple[str, Scene]]:
    """Name and scene of each frame."""
    config = ResolverConfig()
    for path in frames_of(folder)[:count]:
        frame, detections = load_frame(path)
        scene = build_scene(frame, detections, config.depth, config.lift)
        based = with_base(frame, scene)
        yield path.name, scene if based is frame else build_scene(based, detections, config.depth, config.lift)


def tried(name: str, scene: Scene, obj: SceneObject, hand: str) -> Try:
    """Result of one hand for one object."""
    config = PlanningConfig(gripper=HANDS[hand], workspace=ANYWHERE)
    goal, kind, words, begun = None, "", "", time.perf_counter()
    try:
        if obj.depth_problem is not None:
            raise GoalError("take it", [("no_depth", obj.depth_problem)], "move the camera")
        answer = Resolution("take it", Status.OK, "", target=target_of(obj, scene), stamp_ns=scene.frame.stamp_ns)
        goal = pick_goal(planning_scene(surroundings_of(scene, answer, True), config), config)
    except GoalError as error:
        kind, words = error.reasons[0]
    except SpatialVlmError as error:
        kind, words = error.status_name.lower(), str(error)
    ms = (time.perf_counter() - begun) * 1e3
    return Try(name, obj.id, obj.detection.label, hand, goal, kind, words, ms)


def lines_of(grasp: Grasp, hand: GripperConfig) -> list[Array]:
    """(2, 3) ends of the lines that represent a hand: two fingers, the palm between them, the approach."""
    turn, at = matrix_from_quaternion_xyzw(grasp.grasp.orientation), np.array(grasp.grasp.position)
    half, back = grasp.opening / 2, hand.finger_beyond - hand.finger_length
    corners = {
        (side, deep): at + turn @ np.array([0.0, side * half, hand.finger_beyond if deep else back])
        for side in (-1, 1)
        for deep in (0, 1)
    }
    middle = at + turn @ np.array([0.0, 0.0, back])
    return [
        np.stack((corners[-1, 0], corners[-1, 1])),
        np.stack((corners[1, 0], corners[1, 1])),
        np.stack((corners[-1, 0], corners[1, 0])),
        np.stack((middle, middle - 0.04 * turn[:, 2])),
    ]


def drawn(found: Try, scene: Scene, obj: SceneObject) -> npt.NDArray[np.uint8]:
    """The object in its image, enlarged, with its best grasps, the best one thick; BGR."""
    frame = scene.frame
    image = cv2.resize(np.ascontiguousarray(frame.rgb[:, :, ::-1]), None, fx=ZOOM, fy=ZOOM)
    for number, grasp in reversed(list(enumerate(() if found.goal is None else found.goal.grasps[:4]))):
        for line in lines_of(grasp, HANDS[found.hand]):
            assert frame.base_T_camera is not None
            seen = frame.base_T_camera.inverse().apply(line) @ frame.camera.K.T
            begin, end = np.round(ZOOM * seen[:, :2] / seen[:, 2:]).astype(int).tolist()
            cv2.line(image, begin, end, COLOURS[grasp.way], 1 if number else 4, cv2.LINE_AA)
    x0, y0, x1, y1 = (ZOOM * round(side) for side in obj.detection.box_xyxy)
    return np.asarray(image[max(0, y0 - BESIDE) : y1 + BESIDE, max(0, x0 - BESIDE) : x1 + BESIDE], np.uint8)


def counted(found: list[Try]) -> dict[str, Any]:
    """Shares, kinds and reasons by hand."""
    summary: dict[str, Any] = {}
    for hand in (*HANDS, "all"):
        mine = [t for t in found if t.hand == hand or (hand == "all" and t.hand in COUNTED)]
        good = [t for t in mine if t.goal is not None]
        share = wilson(len(good), len(mine))
        summary[hand] = {
            "targets": len(mine), "with_grasp": len(good), "interval": [round(share.low, 4), round(share.high, 4)],
            "kinds": dict(Counter(t.goal.grasps[0].way for t in good if t.goal is not None)),
            "refused": dict(Counter(t.kind for t in mine if t.goal is None)),
        }  # fmt: skip
    return summary


def main() -> int:
    """Try, print, draw and keep."""
    given = arguments(__doc__, draw=Path, folder=REAL_FRAMES, frames=10_000)
    draw, folder = given.draw, given.folder
    if draw:
        draw.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        print(f"frames not found at {folder}; set SPATIAL_VLM_REAL_RGBD or pass --folder")
        return 1
    found: list[Try] = []
    for name, scene in scenes(folder, given.frames):
        for obj in scene.objects:
            if obj.detection.label in FURNITURE:
                continue
            for hand in HANDS:
                found.append(tried(name, scene, obj, hand))
                if draw:
                    cv2.imwrite(str(draw / f"{name}_{obj.id}_{hand}.png"), drawn(found[-1], scene, obj))
    times = sorted(t.ms for t in found)
    measured = {
        "folder": folder.name,
        "by_hand": counted(found),
        "ms": {"median": round(times[len(times) // 2], 2), "p95": round(times[int(0.95 * (len(times) - 1))], 2)},
        "targets": [t.row for t in found],
    }
    return finish("grasping" if folder == REAL_FRAMES else f"grasping_{folder.name}", measured, [])


if __name__ == "__main__":
    raise SystemExit(main())
