# SPDX-License-Identifier: Apache-2.0
"""Boards and tables as a camera on an arm, or beside it, sees them."""

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.geometry.hand_eye import CharucoTarget, PoseSample, twist
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform

Array = npt.NDArray[np.float64]
CAMERA = PinholeCamera(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), 640, 480)
SMALL = PinholeCamera(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), 320, 240)
BOARD = CharucoTarget(CharucoTarget.EXAMPLE)
MOUNT = twist(np.array([0.03, -0.05, 0.04, 0.1, -0.2, 1.5]))  # the camera in the effector, or in the base
PLACE = twist(np.array([0.5, 0.1, 0.02, 3.0, 0.2, 0.1]))  # the board in the base, or in the effector
TILTS = [(25, 0, 0), (-25, 0, 10), (0, 25, 0), (0, -25, -20), (20, 20, 40), (-20, 15, -40), (10, -30, 70)]
TILTS += [
    (5, 5, 0),
    (-15, -15, 20),
    (30, 5, -60),
    (-30, 10, 15),
    (12, 18, -15),
    (18, -12, 33),
    (-8, 28, 50),
    (0, 0, 90),
]


def views() -> list[Array]:
    """(4, 4) poses of the board in the camera, turned about several axes, 0.4 to 0.5 m away."""
    places = [(0.02 * np.cos(n), 0.02 * np.sin(n), 0.4 + 0.1 * (n % 2)) for n in range(len(TILTS))]
    found = [twist(np.array([*place, *np.radians(turn)])) for place, turn in zip(places, TILTS, strict=True)]
    for view in found:
        view[:3, 3] -= view[:3, :3] @ BOARD.points.mean(axis=0)
    return found


def samples(in_hand: bool, pixels: float = 0.0) -> list[PoseSample]:
    """What the poses tell, with errors of the corners."""
    found, rng = [], np.random.default_rng(0)
    for view in views():
        arm, seen = PLACE @ np.linalg.inv(MOUNT @ view), view
        if pixels:
            corners = project(CAMERA, BOARD.points @ view[:3, :3].T + view[:3, 3])
            seen = BOARD.pose(BOARD.points, corners + rng.normal(0, pixels, corners.shape), CAMERA)
        found.append(PoseSample(arm if in_hand else np.linalg.inv(arm), seen))
    return found


def board_frame(view: Array) -> RgbdFrame:
    """An image of the printed board at a pose in the camera."""
    metres = BOARD.points[:, :2].min() / 100  # of a pixel
    to_plane = np.array([[metres, 0, 0], [0, metres, 0], [0, 0, 1.0]])
    image = cv2.warpPerspective(BOARD.image(100), CAMERA.K @ view[:3, [0, 1, 3]] @ to_plane, (640, 480),
                                flags=cv2.INTER_AREA, borderValue=(200, 200, 200))  # fmt: skip
    return RgbdFrame(image, np.full((480, 640), 0.5, np.float32), CAMERA, frame_id="camera_optical")


def table_frame(base_T_camera: Array, boxes: list[tuple[Array, Array]], rng: np.random.Generator) -> RgbdFrame:
    """A table at z = 0 with boxes (pose, half edges), in depth with 1 mm of noise."""
    rays = np.dstack([normalised_grid(SMALL), np.ones((240, 320))]).reshape(-1, 3) @ base_T_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[:, 2] < 0, -base_T_camera[2, 3] / rays[:, 2], np.inf)
        for pose, half in boxes:
            start, along = pose[:3, :3].T @ (base_T_camera[:3, 3] - pose[:3, 3]), rays @ pose[:3, :3]
            hits = (np.stack([-half, half]) - start)[:, None] / along
            near, far = hits.min(axis=0).max(axis=1), hits.max(axis=0).min(axis=1)
            depth = np.where((near < far) & (near > 0) & (near < depth), near, depth)
    noisy = (depth + rng.normal(0, 0.001, depth.shape)).reshape(240, 320).astype(np.float32)
    rgb, pose = np.zeros((240, 320, 3), np.uint8), Transform("base", "camera_optical", base_T_camera)
    return RgbdFrame(rgb, np.where(np.isfinite(noisy), noisy, np.nan), SMALL, 0, "camera_optical", pose)
