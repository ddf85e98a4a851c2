# SPDX-License-Identifier: Apache-2.0
"""Images of an answer and its 3-D scene: every part is where geometry says, in the image, from above and in space."""

import dataclasses
import functools
import resource
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from chicks import BASE_T_CAMERA, BEHIND, FRAME, SEEN, answered, content, drawn, resolved

from spatial_vlm_ros import PinholeCamera, Resolver
from spatial_vlm_ros.errors import DependencyError, DisplayError, FileError
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.output import drawing, scene_3d
from spatial_vlm_ros.output.annotated_image import content_from, draw
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.output.drawing import LabelRequest, Rectangle, distance, overlap, place_labels
from spatial_vlm_ros.output.top_view import _STEPS, draw_top_view
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup
from spatial_vlm_ros.sim.tabletop import Body, Box, World, look_at, render
from spatial_vlm_ros.types import FrameOfReference, Place, Pose, Resolution, Rgb, Status


def shown(resolution: Resolution) -> Rgb:
    """An answer of another kind, drawn on the known scene."""
    return draw(FRAME, SEEN, resolution, scene=answered(BEHIND).scene)


def outlined(image: np.ndarray, id_: str, colour: tuple[int, int, int]) -> float:
    """Part of a mask's border at which the image has a colour within two pixels."""
    mask = next(d.mask for d in SEEN if d.id == id_)
    border = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    alike = np.abs(image[: border.shape[0], : border.shape[1]].astype(int) - colour).max(axis=2) < 8
    near = cv2.dilate(alike.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return float(near[border].mean())


def pixel(place: tuple[float, ...] | np.ndarray) -> tuple[int, int]:
    """(row, column) at which a place in the world is seen."""
    u, v = project(FRAME.camera, BASE_T_CAMERA.inverse().apply(np.array([place])))[0].round().astype(int)
    return int(v), int(u)


def marked(image: np.ndarray, place: tuple[float, ...]) -> int:
    """Number of pixels around a place in the world that differ from the photograph."""
    v, u = pixel(place)
    around = np.s_[v - 6 : v + 7, u - 6 : u + 7]
    return int((np.abs(image[around].astype(int) - FRAME.rgb[around].astype(int)).sum(axis=2) > 60).sum())


def test_the_chosen_outline_and_its_pose_are_drawn_where_they_are() -> None:
    image, target = drawn(BEHIND), resolved(BEHIND).target
    assert image.dtype == np.uint8
    assert image.shape[0] > 480
    assert image.shape[1] > 640 + 300  # the camera image, and the view from above beside it
    assert outlined(image, "bonnet", drawing.GREEN) > 0.9
    assert outlined(image, "cup", drawing.BLUE) > 0.8
    assert marked(image, target.pose.position) >= 10


@pytest.mark.parametrize("instruction", ["the chick", "the duck", "the chick left of the box", "", "naïve — 猫"])
def test_refusals_are_drawn_with_their_words(instruction: str) -> None:
    panel = drawn(instruction)[480:]
    assert (panel == drawing.VERMILLION).all(axis=2).sum() > 300  # the ground of the status
    assert (panel.astype(int).sum(axis=2) < 200).sum() > 100  # dark words
    assert panel.shape[0] >= 40


def test_refusals_mark_all_that_may_be_meant_or_what_came_closest_and_the_reference() -> None:
    image = drawn("the chick")
    for detection in SEEN:
        share = outlined(image, detection.id, drawing.ORANGE)
        assert share > 0.5 if detection.label == "chick" else share < 0.2  # of the dashed border
    assert not (image[:480] == drawing.GREEN).all(axis=2).any()
    assert resolved("the box right of the cup").status is Status.RELATION_UNSATISFIED
    image = drawn("the box right of the cup")
    assert outlined(image, "box", drawing.VERMILLION) > 0.9
    assert outlined(image, "cup", drawing.BLUE) > 0.6  # a label stands over a part


def test_a_frame_without_usable_depth_is_still_drawn() -> None:
    blind = dataclasses.replace(FRAME, depth=np.full_like(FRAME.depth, np.nan))
    resolution = Resolver().resolve(blind, "the chick", SEEN)
    assert resolution.status is Status.DEPTH_INVALID
    np.testing.assert_array_equal(draw(blind, SEEN, resolution)[:480], FRAME.rgb)


def test_every_target_is_drawn_with_its_pose() -> None:
    one, other = resolved("the bonnet chick"), resolved("the ribbon chick")
    targets = one.target, other.target
    image = shown(dataclasses.replace(one, targets=targets))
    for target in targets:
        assert outlined(image, target.id, drawing.GREEN) > 0.9
        assert marked(image, target.pose.position) >= 10


@pytest.mark.parametrize("in_base", [True, False])
def test_places_are_drawn_where_they_are_the_best_with_a_cross(in_base: bool) -> None:
    spots, to_camera = ((0.0, 0.18, 0.0), (-0.1, -0.2, 0.0)), BASE_T_CAMERA.inverse()
    frame = FRAME if in_base else dataclasses.replace(FRAME, base_T_camera=None)
    observed = Resolver().look_at(frame, SEEN).ask("the bonnet chick")
    turn = quaternion_xyzw_from_matrix(np.eye(3) if in_base else to_camera.rotation)
    frame_id = "world" if in_base else frame.frame_id
    at = spots if in_base else [tuple(to_camera.apply(np.array(spot))) for spot in spots]
    places = tuple(Place(Pose(frame_id, place, turn), "support", probability=0.9) for place in at)
    answer = dataclasses.replace(observed.resolution, place=places[0], places=places)
    image = draw(frame, SEEN, answer, scene=observed.scene)
    best, second = (pixel(spot) for spot in spots)
    assert tuple(image[best]) == drawing.PURPLE
    assert tuple(image[second]) != drawing.PURPLE
    around = image[second[0] - 40 : second[0] + 41, second[1] - 40 : second[1] + 41].astype(int)
    assert (np.abs(around - drawing.PURPLE).max(axis=2) < 8).any()


def test_an_answer_from_an_objects_own_view_is_drawn_with_its_front() -> None:
    seen = {}
    for side in (1.0, -1.0):
        faced = tuple(dataclasses.replace(d, front=(side, 0.0, 0.0)) if d.id == "cup" else d for d in SEEN)
        answered = Resolver().look_at(FRAME, faced).ask("the box behind the cup", FrameOfReference.OBJECT)
        seen[side] = draw(FRAME, faced, answered.resolution, scene=answered.scene)[:480, 641:].astype(int)
    assert (np.abs(seen[1.0] - seen[-1.0]).sum(axis=2) > 60).sum() > 100


def test_a_small_image_is_enlarged() -> None:
    rgb, depth = (np.ascontiguousarray(image[::4, ::4]) for image in (FRAME.rgb, FRAME.depth))
    camera = PinholeCamera(FRAME.camera.K * [[0.25], [0.25], [1.0]], 160, 120)
    small = dataclasses.replace(FRAME, rgb=rgb, depth=depth, camera=camera)
    answer = Resolver().resolve(small, "the cup", ())
    hatched, image = (draw(small, (), one) for one in (answer, dataclasses.replace(answer, unexplained=())))
    enlarged = np.repeat(np.repeat(small.rgb, 4, axis=0), 4, axis=1)
    np.testing.assert_array_equal(image[:480, :640], enlarged)
    left, top, right, bottom = (round(4 * edge) for edge in answer.unexplained[0].box)
    assert (hatched[top : bottom + 1, left : right + 1] != image[top : bottom + 1, left : right + 1]).any()


def test_what_a_model_chose_has_another_colour_than_what_was_measured() -> None:
    measured = resolved("the cup")
    by_model = dataclasses.replace(measured, source="model", confidence=0.0, query=None)
    for resolution, ground, other in ((measured, drawing.GREEN, drawing.BLUE), (by_model, drawing.BLUE, drawing.GREEN)):
        panel = shown(resolution)[480:]
        assert (panel[:60, :80] == ground).all(axis=2).sum() > 300
        assert not (panel[:60, :80] == other).all(axis=2).any()
    assert (panel == drawing.VERMILLION).all(axis=2).sum() > 50  # the words that say so


BODIES = (
    Body("red", "red box", Box((0.06, 0.06, 0.06)), (0.0, -0.12, 0.0), "red"),
    Body("blue", "blue box", Box((0.06, 0.06, 0.06)), (0.0, 0.12, 0.0), "blue"),
    Body("green", "green box", Box((0.06, 0.06, 0.06)), (0.2, 0.12, 0.0), "green"),
)
BOXES = render(World(bodies=BODIES), CAMERA, look_at((-0.7, 0.0, 0.5), (0.05, 0.0, 0.03)))
OF_BOXES = Resolver().look_at(BOXES.frame, BOXES.detections)


@functools.cache
def seen_above(instruction: str) -> AnswerContent:
    answered = OF_BOXES.ask(instruction)
    return content_from(BOXES.frame, BOXES.detections, answered.resolution, ResolverConfig(), answered.scene)


def middle_of(image: np.ndarray, colour: tuple[int, int, int], share: float) -> np.ndarray:
    """Middle of the pixels that a colour was mixed into by a share."""
    mixed = 252 + share * (np.array(colour) - 252)
    rows, columns = np.nonzero((np.abs(image.astype(float) - mixed) < 3).all(axis=2))
    assert len(rows) > 50
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(("width", "height"), [(400, 480), (640, 360), (320, 720)])
def test_distances_and_directions_are_to_scale(width: int, height: int) -> None:
    made = dataclasses.replace(seen_above("the green box behind the blue box"), region=None, deciding=None)
    image = draw_top_view(made, width, height, 13)
    assert image.shape == (height, width, 3)
    green, blue = middle_of(image, drawing.GREEN, 0.85), middle_of(image, drawing.BLUE, 0.4)
    span = made.high - made.low
    scale = min((height - 4.6 * 13) / span[0], width / span[1])
    centre = {o.label: o.corners.mean(axis=0) for o in made.outlines}
    apart = centre["green box green"] - centre["blue box blue"]
    # Labels and the arrow cover a part of the outlines: their middles are found to a few pixels.
    assert (green - blue)[1] == pytest.approx(-scale * apart[0], abs=8)  # behind is up
    assert (green - blue)[0] == pytest.approx(scale * apart[1], abs=8)
    assert apart[0] == pytest.approx(0.2, abs=0.02)


def test_lines_of_the_raster_are_round_distances_apart() -> None:
    image = draw_top_view(seen_above("the duck"), 400, 480, 13)
    line = (np.abs(image[240].astype(int) - (236, 239, 243)) < 2).all(axis=1)
    columns = np.flatnonzero(line)
    gaps = np.diff(columns)
    gaps = gaps[gaps > 1]
    assert gaps.min() >= 25
    assert len(_STEPS) == len({round(s, 6) for s in _STEPS})


def test_the_region_is_tinted_on_the_side_that_was_said() -> None:
    made = seen_above("the blue box left of the red box")
    assert made.region is not None
    image = draw_top_view(made, 400, 480, 13).astype(int)
    tint = np.rint(0.22 * np.array(drawing.GREEN) + 0.78 * np.array((251, 252, 253)))
    tinted = (np.abs(image - tint) < 3).all(axis=2)
    assert tinted[:, :120].mean() > 0.4
    assert tinted[:, 375:].mean() < 0.02


AREA = (0.0, 0.0, 640.0, 480.0)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 200))])
def test_labels_touch_neither_each_other_nor_what_must_stay_clear(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, largest = int(random.integers(1, 30)), float(random.choice((60, 200, 500)))
    objects: list[Rectangle] = []  # anywhere, partly outside the area
    for _ in range(count):
        x, y, width, height = (float(v) for v in random.uniform((-40, -40, 4, 4), (640, 480, largest, largest)))
        objects.append((x, y, x + width, y + height))
    clear = objects[: int(random.integers(0, 3))]
    requests = [LabelRequest((int(random.integers(20, 200)), 20), obj) for obj in objects]
    placed = place_labels(requests, AREA, clear, objects)
    there = np.array([place for place in placed if place is not None]).reshape(-1, 4)
    assert (there[:, :2] >= 0).all()
    assert (there[:, 2:] <= (640, 480)).all()
    assert not overlap(there, np.array(clear).reshape(-1, 4)).any()
    each_other = overlap(there, there)
    np.fill_diagonal(each_other, 0.0)
    assert not each_other.any()
    for place, request in zip(placed, requests, strict=True):
        assert place is None or (place[2] - place[0], place[3] - place[1]) == request.size


def test_with_room_every_label_stands_by_its_object() -> None:
    objects = [(100.0 * n + 20, 200.0, 100.0 * n + 60, 240.0) for n in range(6)]
    placed = place_labels([LabelRequest((70, 20), obj) for obj in objects], AREA, objects[:1], objects)
    for place, obj in zip(placed, objects, strict=True):
        assert distance(np.array([place]), obj)[0] <= 6


def test_a_label_without_room_is_left_out_and_one_rather_goes_away_than_hides_an_object() -> None:
    assert place_labels([LabelRequest((80, 20), (10.0, 10.0, 50.0, 50.0))], AREA, [AREA]) == [None]
    far = LabelRequest((80, 20), (0.0, 0.0, 10.0, 10.0), farthest=20.0)
    assert place_labels([far], AREA, [(0.0, 0.0, 200.0, 200.0)]) == [None]
    around = [(0.0, 0.0, 300.0, 190.0), (0.0, 240.0, 300.0, 480.0), (0.0, 190.0, 200.0, 240.0)]
    request = LabelRequest((60, 20), (200.0, 190.0, 240.0, 240.0))
    (place,) = place_labels([request], AREA, [request.names], around)
    assert not overlap(np.array([place]), np.array(around)).any()


@functools.cache
def made(words: str = BEHIND) -> scene_3d.ColouredMesh:
    return scene_3d.mesh_of(FRAME, content(words))


def coloured(mesh: scene_3d.ColouredMesh, colour: tuple[int, int, int]) -> np.ndarray:
    return mesh.points[(np.abs(mesh.colours - np.array(colour) / 255.0) < 1e-6).all(axis=1)]


def test_the_chosen_box_the_region_and_the_axes_are_where_they_are_in_the_base_frame() -> None:
    mesh = made()
    assert mesh.frame_id == "world"
    green, blue = coloured(mesh, drawing.GREEN), coloured(mesh, drawing.BLUE)
    bonnet = next(body for body in chicks_and_cup().bodies if body.id == "bonnet")
    near = green[np.linalg.norm(green[:, :2] - bonnet.position[:2], axis=1) < 0.06]
    assert near[:, 2].max() == pytest.approx(0.07, abs=0.01)  # its top
    region = green[np.abs(green[:, 2] - green[:, 2].min()) < 0.02]
    assert region[:, 0].max() > 0.3  # behind the cup, which stands at the origin, seen from -x
    assert np.linalg.norm(blue, axis=1).min() < 0.01  # the base's z axis begins at its origin
    assert np.linalg.norm(blue - (-0.74, 0.0, 0.43), axis=1).min() < 0.01  # and the camera's at its own
    plate = coloured(made("put the bonnet chick left of the cup"), drawing.SPOT)  # a place is a plate on its support
    assert np.abs(plate[:, 2]).max() < 0.02
    assert plate[:, 1].max() > 0.05  # left is +y


def test_without_a_base_frame_it_is_in_the_cameras_and_without_content_what_the_camera_saw() -> None:
    frame = dataclasses.replace(FRAME, base_T_camera=None)
    resolver = Resolver()
    answered = resolver.look_at(frame, SEEN).ask(BEHIND)
    mesh = scene_3d.mesh_of(frame, content_from(frame, SEEN, answered.resolution, resolver.config, answered.scene))
    assert mesh.frame_id == frame.frame_id
    assert np.median(mesh.points[:, 2]) > 0.3
    mesh = scene_3d.mesh_of(FRAME, None)
    assert len(mesh.triangles) > 10_000
    assert mesh.triangles.max() < len(mesh.points)


def test_a_scene_is_written_and_read_back_without_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open3d = pytest.importorskip("open3d")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    scene_3d.write_ply(tmp_path / "deep" / "scene.ply", made())
    again = open3d.io.read_triangle_mesh(str(tmp_path / "deep" / "scene.ply"))
    np.testing.assert_allclose(np.asarray(again.vertices), made().points, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(again.triangles), made().triangles)
    np.testing.assert_allclose(np.asarray(again.vertex_colors), made().colours, atol=0.51 / 255)
    with pytest.raises(FileError, match="writable location"):
        scene_3d.write_ply(tmp_path / "deep", made())


def test_without_open3d_a_scene_is_written_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    scene_3d.write_ply(tmp_path / "scene.ply", made())
    header, _, body = (tmp_path / "scene.ply").read_bytes().partition(b"end_header\n")
    assert f"element vertex {len(made().points)}\n".encode() in header
    assert len(body) == 27 * len(made().points) + 13 * len(made().triangles)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(DependencyError, match=r"pip install open3d-cpu"):
        scene_3d.show(made(), "answer")
    monkeypatch.undo()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DisplayError, match=r"--out scene\.ply"):
        scene_3d.show(made(), "answer")


def test_a_full_disk_keeps_the_earlier_scene(tmp_path: Path) -> None:
    place, mesh = tmp_path / "scene.ply", made()
    place.write_bytes(b"earlier")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # bytes of a file: writing ends as on a full disk
    try:
        with pytest.raises(FileError, match="enough free space"):
            scene_3d.write_ply(place, mesh, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert place.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [place]
