# SPDX-License-Identifier: Apache-2.0
"""A frame against itself: each fault of an installation is found by its own check, and healthy frames pass all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spatial_vlm_ros.geometry.frame_evidence import frame_evidence
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, FrameEvidence, Plane, RgbdFrame, Status, UpSource, Verdict

FRAME, DETECTIONS = chicks_and_cup_frame()
Change = Callable[[RgbdFrame], RgbdFrame]


def evidence_of(frame: RgbdFrame, detections: tuple[Detection, ...] = DETECTIONS) -> FrameEvidence:
    return build_scene(frame, detections, DepthConfig(), LiftConfig()).evidence


def without(*ids: str) -> tuple[Detection, ...]:
    return tuple(one for one in DETECTIONS if one.id not in ids)


def depth(change: Callable[[Any], Any]) -> Change:
    return lambda frame: replace(frame, depth=np.ascontiguousarray(change(frame.depth), np.float32))


def camera(factor: float, *centre: float) -> Change:
    K = FRAME.camera.K * [[factor], [factor], [1]]
    K[: len(centre), 2] = centre
    return lambda frame: replace(frame, camera=replace(frame.camera, K=K))


def inverted(frame: RgbdFrame) -> RgbdFrame:
    return replace(frame, base_T_camera=replace(frame.base_T_camera, matrix=np.linalg.inv(frame.base_T_camera.matrix)))


def white_and_moved(frame: RgbdFrame) -> RgbdFrame:
    return replace(depth(lambda z: np.roll(z, 45, 1))(frame), rgb=np.full_like(frame.rgb, 240))


def transform(degrees: float = 0.0, times: float = 1.0) -> Change:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    scale = np.array([[1, 1, 1, times]] * 3 + [[1, 1, 1, 1]])
    told: Any = FRAME.base_T_camera
    return lambda frame: replace(frame, base_T_camera=replace(told, matrix=(told.matrix @ turn) * scale))


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        pytest.param(depth(lambda z: np.rint(z / 0.25) * 0.25), "depth values", "250.0 mm", id="steps of 25 cm"),
        pytest.param(depth(lambda z: np.rint(z * 51) / 51), "depth values", "8 bits", id="5 m in 8 bits"),
        pytest.param(depth(lambda z: np.roll(z, 45, 1)), "depth on colour", "+4", id="45 pixels to the right"),
        pytest.param(depth(lambda z: np.roll(z, -20, 0)), "depth on colour", "-18 down", id="20 pixels up"),
        pytest.param(white_and_moved, "depth on colour", "beside the boxes of", id="45 pixels beside white boxes"),
        pytest.param(depth(lambda z: z[:, ::-1]), "depth on colour", "mirrored", id="mirrored"),
        pytest.param(depth(lambda z: z[::-1, ::-1]), "depth on colour", "upside down", id="turned"),
        pytest.param(depth(lambda z: np.roll(z, (70, 150), (0, 1))), "depth on colour", "do not lie", id="elsewhere"),
        pytest.param(depth(lambda z: z * 4), "sizes", "3.9", id="quarters of a millimetre"),
        pytest.param(depth(lambda z: z / 4), "sizes", "unit", id="a quarter"),
        pytest.param(camera(2.0), "camera info", "100% of the width", id="K of twice the resolution"),
        pytest.param(camera(0.5), "camera info", "25% of the width", id="K of half the resolution"),
        pytest.param(camera(1.0, 0, 0), "camera info", "0% of the width", id="no principal point"),
        pytest.param(camera(2.0, 640, 360), "camera info", "75% of the height", id="K of 1280x720"),
        pytest.param(inverted, "up", "off level", id="inverted transform"),
        pytest.param(transform(12.0), "up", "12", id="turned by 12 degrees"),
        pytest.param(transform(-25.0), "up", "25", id="turned by 25 degrees"),
        pytest.param(transform(times=1000.0), "camera position", "metres", id="millimetres"),
    ],
)
def test_a_fault_is_named(change: Change, name: str, words: str) -> None:
    check = evidence_of(change(FRAME)).contradiction
    assert check.name == name
    assert words in f"{check.found}; {check.fix}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: frame, id="as it is"),
        pytest.param(lambda frame: replace(frame, base_T_camera=None), id="without a transform"),
        pytest.param(depth(lambda z: np.roll(z, 2, 1)), id="2 pixels beside"),
        pytest.param(depth(lambda z: np.rint(z * 1000) / 1000), id="millimetres"),
        pytest.param(transform(3.0), id="3 degrees off level"),
    ],
)
def test_a_healthy_frame_agrees_with_itself(change: Change) -> None:
    evidence = evidence_of(change(FRAME))
    assert evidence.contradiction is None
    held = {check.name for check in evidence.checks if check.verdict is Verdict.HOLDS}
    assert {"depth values", "depth on colour", "sizes"} <= held


def test_a_small_piece_that_a_wrong_transform_makes_level_does_not_hide_the_table() -> None:
    wrong = transform(20.0)(FRAME)
    up = wrong.base_T_camera.rotation[2]
    objects = build_scene(FRAME, DETECTIONS, DepthConfig(), LiftConfig()).objects
    piece = Plane(up, -float(up @ objects[0].surface_centre), 0.001)
    evidence = frame_evidence(wrong, objects, piece, UpSource.TF, up, DepthConfig())
    check = next(check for check in evidence.checks if check.name == "up")
    assert (check.verdict, check.measured) == (Verdict.CONTRADICTS, pytest.approx(20, abs=0.5))


@pytest.mark.parametrize(("width", "verdict"), [(60, Verdict.UNMEASURED), (320, Verdict.CONTRADICTS)])
def test_edges_in_few_places_do_not_contradict_the_whole_image(width: int, verdict: Verdict) -> None:
    """Depth that has nothing to do with colour: at either lower corner, where an arm is too near, and across."""
    chance = np.random.default_rng(2)
    tiles = np.kron(chance.integers(60, 200, (24, 32)), np.ones((20, 20), np.int64)).astype(np.uint8)
    near = np.kron(chance.random((17, 26)) < 0.5, np.ones((14, 25), np.bool_))[:, :640]
    near[:, width : 640 - width] = False
    z = np.ones((480, 640), np.float32)
    z[-len(near) :] -= 0.4 * near
    frame = replace(FRAME, rgb=np.repeat(tiles[..., None], 3, axis=2), depth=z, base_T_camera=None)
    (check,) = (one for one in evidence_of(frame, ()).checks if one.name == "depth on colour")
    assert check.verdict is verdict


def test_objects_behind_a_small_surface_do_not_contradict_it() -> None:
    scene = build_scene(FRAME, DETECTIONS, DepthConfig(), LiftConfig())
    above = replace(scene.support, offset=scene.support.offset - 0.25)
    evidence = frame_evidence(FRAME, scene.objects, above, UpSource.SUPPORT_PLANE, above.normal, DepthConfig())
    assert {check.name: check.verdict for check in evidence.checks}["objects on the support"] is Verdict.UNMEASURED


def test_part_of_an_image_agrees_with_itself() -> None:
    K = FRAME.camera.K - [[0, 0, 120], [0, 0, 60], [0, 0, 0]]
    part = replace(FRAME, rgb=FRAME.rgb[60:, 120:], depth=FRAME.depth[60:, 120:],
                   camera=replace(FRAME.camera, K=K, width=520, height=420))  # fmt: skip
    boxes = {d: np.subtract(d.box_xyxy, (120, 60, 120, 60)) for d in DETECTIONS}
    moved = tuple(replace(d, box_xyxy=tuple(box), mask=None) for d, box in boxes.items() if box.min() > 0)
    assert moved
    assert evidence_of(part, moved).contradiction is None


def test_what_shows_nothing_is_not_measured() -> None:
    """A bare wall without colours, objects or a transform."""
    flat = np.full_like(FRAME.depth, 1.0)
    grey = replace(FRAME, rgb=np.full_like(FRAME.rgb, 128), depth=flat, base_T_camera=None)
    verdicts = {check.name: check.verdict for check in evidence_of(grey, ()).checks}
    assert verdicts.pop("camera info") is Verdict.HOLDS
    assert set(verdicts.values()) == {Verdict.UNMEASURED}
    white = replace(FRAME, rgb=np.full_like(FRAME.rgb, 240))  # white objects on white beside a striped cloth
    white.rgb[:, :80] = np.where(np.arange(80) % 12 < 6, 40, 240)[None, :, None]
    assert {check.name: check.verdict for check in evidence_of(white).checks}["depth on colour"] is Verdict.UNMEASURED


def test_no_real_frame_contradicts_itself(real_frames: Path) -> None:
    for name in sorted({case.frame for case in load_cases(real_frames)}):
        assert evidence_of(*load_frame(real_frames / name)).contradiction is None, name


def test_a_frame_that_contradicts_itself_is_refused_with_its_checks() -> None:
    refused = Resolver().resolve(depth(lambda z: np.roll(z, 45, 1))(FRAME), "the cup", DETECTIONS)
    assert (refused.status, refused.target) == (Status.FRAME_INCONSISTENT, None)
    assert "register depth to colour" in refused.message.lower()
    written = resolution_from_json(json.loads(json.dumps(resolution_json(refused))))
    assert written.evidence == refused.evidence
    wrong = [check.name for check in refused.evidence.checks if check.verdict is Verdict.CONTRADICTS]
    assert wrong == ["depth on colour"]


@pytest.mark.parametrize("missed", ["cup", "bonnet", "ribbon"])
def test_what_no_detection_explains_is_seen_in_depth(missed: str) -> None:
    scene = build_scene(FRAME, without(missed), DepthConfig(), LiftConfig())
    (region,) = scene.unexplained
    left, top, right, bottom = next(one for one in DETECTIONS if one.id == missed).box_xyxy
    assert left < (region.box[0] + region.box[2]) / 2 < right
    assert top < (region.box[1] + region.box[3]) / 2 < bottom
    assert not build_scene(FRAME, DETECTIONS, DepthConfig(), LiftConfig()).unexplained


def test_an_order_of_objects_counts_what_has_no_name_and_asks_a_person() -> None:
    for words in ("the leftmost object", "the rightmost object"):
        end = Resolver().resolve(FRAME, words, DETECTIONS)
        asked = Resolver().resolve(FRAME, words, without(end.target.id))
        assert (asked.status, asked.target, len(asked.unexplained)) == (Status.LOW_CONFIDENCE, None, 1)
        assert "no detection says what it is" in asked.message
        agreed = Resolver().resolve(FRAME, "yes", without(end.target.id), follows=(words,))
        assert np.linalg.norm(np.subtract(agreed.target.pose.position, end.target.pose.position)) < 0.02
    assert Resolver().resolve(FRAME, "the cup", without("bonnet")).status is Status.OK


def test_image_up_is_not_gravity_up() -> None:
    """Nothing tells how the camera is held: what lies beside what is answered, and what stands on what is not."""
    scene = replace(build_scene(FRAME, DETECTIONS, DepthConfig(), LiftConfig()), up_from=UpSource.OPTICAL_AXES)
    for words in ("the leftmost chick", "the nearest chick", "the chick to the right of the cup"):
        assert Resolver().answer(scene, words).status is Status.OK, words
    for words in ("the tallest chick", "the chick on the cup", "put the left chick behind the cup"):
        assert Resolver().answer(scene, words).status is Status.FRAME_UNDEFINED, words


def test_an_imu_and_a_transform_that_disagree_are_a_contradiction() -> None:
    up = FRAME.base_T_camera.rotation[2]
    for degrees, status in ((2.0, Status.OK), (20.0, Status.FRAME_INCONSISTENT)):
        turn = cv2.Rodrigues(np.radians([degrees, 0.0, 0.0]))[0]
        end = Resolver().resolve(replace(FRAME, up=turn @ up), "grab me the chick behind the cup", DETECTIONS)
        assert end.status is status
    assert "the IMU and the camera's transform are 20.0° apart" in end.message
    assert "hand-eye calibration" in end.message
