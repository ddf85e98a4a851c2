# SPDX-License-Identifier: Apache-2.0
"""Claim: the arm's pixels in a 640×480 frame are found in at most 30 ms.

A Panda of 11 links stands before a floor and a wall, and fills about a fifth of the image; depth has noise. Hulls are
made once before, as in live use. The baseline makes the same test, half-spaces after a sphere around each link, but
compares each remaining point with each face. In live use the arm is removed while a frame's messages are decoded; the
cost is compared with decoding alone. It needs the extras `arm` and `bags`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, alternate, finish, repetitions, table
from benchmarks.scenes import camera
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.manipulation.builtin_planner.robot import BASE_LINK, HOME, link_hulls
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.manipulation.planning.self_filter import SIGMAS, LinkHull, self_mask
from spatial_vlm_ros.parameters import DepthConfig, StreamConfig
from spatial_vlm_ros.recording.bags.types import default_store
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.streams.compose import rosbags_composer
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, PendingFrame
from spatial_vlm_ros.streams.synchronizer import MatchedMessages
from spatial_vlm_ros.types import Mask, RgbdFrame, Transform

LIMIT_MS = 30.0
PADDING = 0.02
SEED = 10_000
LENS = camera(640, 480, 500.0)
EYE, AT = (0.85, 0.3, 0.65), (0.15, 0.0, 0.4)
WALL = -1.0  # metres, the x of a wall behind the arm

Floats = npt.NDArray[np.float64]


def observed(links: Sequence[LinkHull]) -> RgbdFrame:
    """The arm in front of floor and wall, with noise; ray casting against the faces."""
    base_T_camera = Transform(BASE_LINK, "optical", look_at(EYE, AT).matrix)
    grid = normalised_grid(LENS).reshape(-1, 2)
    rays = np.column_stack([grid, np.ones(len(grid))]) @ base_T_camera.rotation.T  # directions with depth 1
    eye = base_T_camera.translation
    with np.errstate(divide="ignore"):
        ways = np.stack([-eye[2] / rays[:, 2], (WALL - eye[0]) / rays[:, 0]])
    depth = np.where(ways > 0, ways, np.inf).min(axis=0)
    for link in links:
        link_T_base = link.base_T_link.inverse()
        normals, offsets = link.hull.planes[:, :3], link.hull.planes[:, 3]
        room = offsets - normals @ link_T_base.apply(eye)
        for some in np.array_split(np.arange(len(rays)), 100):
            speed = rays[some] @ link_T_base.rotation.T @ normals.T
            with np.errstate(divide="ignore", invalid="ignore"):
                cut = room / speed
            enter = np.where(speed < 0, cut, -np.inf).max(axis=1)
            leave = np.where(speed > 0, cut, np.inf).min(axis=1)
            depth[some] = np.where((enter > 0) & (enter < leave), np.minimum(enter, depth[some]), depth[some])
    depth += np.random.default_rng(SEED).normal(size=depth.shape) * depth_noise(depth, DepthConfig())
    size = (LENS.height, LENS.width)
    image = depth.reshape(size).astype(np.float32)
    return RgbdFrame(np.zeros((*size, 3), np.uint8), image, LENS, 0, "optical", base_T_camera)


def every_face(frame: RgbdFrame, links: Sequence[LinkHull]) -> Mask:
    """The same mask by spheres and all faces."""
    assert frame.base_T_camera is not None
    z = frame.depth.reshape(-1).astype(np.float64)
    points = frame.base_T_camera.apply(np.column_stack([normalised_grid(LENS).reshape(-1, 2) * z[:, None], z]))
    grown = PADDING + SIGMAS * depth_noise(z, DepthConfig())
    mask = np.zeros(len(z), np.bool_)
    for link in links:
        middle, hull = link.base_T_link.apply(link.hull.centre), link.hull
        near = np.flatnonzero(np.linalg.norm(points - middle, axis=1) <= hull.radius + grown)
        local = link.base_T_link.inverse().apply(points[near])
        away = (local @ hull.planes[:, :3].T - hull.planes[:, 3]).max(axis=1)
        mask[near] |= away <= grown[near]
    return mask.reshape(frame.depth.shape)


def received(frame: RgbdFrame, links: Sequence[LinkHull], robot: RobotModel | None) -> PendingFrame:
    """The frame as messages accepted by a frame assembler, with or without the robot to be removed."""
    compose = rosbags_composer(default_store())
    header = compose.header(frame.stamp_ns, frame.frame_id)
    messages = {RGB: compose.image_rgb(frame.rgb, header), DEPTH: compose.image_depth(frame.depth, header)}
    return PendingFrame(
        stamp_ns=frame.stamp_ns,
        match=MatchedMessages(frame.stamp_ns, messages, dict.fromkeys(messages, frame.stamp_ns)),
        rgb_info=compose.camera_info(frame.camera, header),
        depth_info=None,
        base_T_camera=frame.base_T_camera,
        rgb_T_depth=None,
        camera_T_speaker=None,
        config=StreamConfig(base_frame=BASE_LINK),
        robot=robot,
        base_T_links=() if robot is None else tuple(link.base_T_link for link in links),
    )


def main() -> int:
    """Measure, print and write."""
    rounds = repetitions()
    links = link_hulls(HOME)
    frame = observed(links)
    mask, plain = self_mask(frame, links, PADDING), every_face(frame, links)
    robot = RobotModel({link.name: link.hull for link in links}, PADDING, DepthConfig())
    times = alternate(
        {
            "self mask": partial(self_mask, frame, links, PADDING),
            "link hulls at a posture": partial(link_hulls, HOME),
            "every face": partial(every_face, frame, links),
            "decode": received(frame, links, None).decode,
            "decode without the arm": received(frame, links, robot).decode,
        },
        rounds,
    )
    faces, differ = sum(len(link.hull.planes) for link in links), int(np.sum(mask != plain))
    table(
        f"{len(links)} links, {faces} faces, {100 * mask.mean():.0f} % of 640×480; {differ} pixels differ",
        ("step", "median ms", "p95 ms"),
        [(name, time.median_ms, time.p95_ms) for name, time in times.items()],
    )
    ours = times["self mask"].median_ms
    measured = {
        "setting": {"links": len(links), "faces": faces, "seed": SEED, "padding": PADDING},
        "masked_fraction": round(float(mask.mean()), 4),
        "pixels_that_differ": differ,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "steps": {name: time.summary() for name, time in times.items()},
        "ratio_to_every_face": round(times["every face"].median_ms / ours, 2),
        "decode_without_the_arm_to_decode": round(
            times["decode without the arm"].median_ms / times["decode"].median_ms, 2
        ),
    }
    return finish("self_mask", measured, [Claim("640×480, 11 links: self mask", ours, LIMIT_MS, "ms")])


if __name__ == "__main__":
    sys.exit(main())
