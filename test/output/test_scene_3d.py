# SPDX-License-Identifier: Apache-2.0
"""The 3-D scene: every part where geometry says it is, in the base frame; written without a display."""

from __future__ import annotations

import dataclasses
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import DependencyError, DisplayError, FileError
from spatial_vlm_ros.output import drawing, scene_3d
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.sim.examples import chicks_and_cup, chicks_and_cup_frame


def made(instruction: str, in_base: bool = True) -> scene_3d.ColouredMesh:
    frame, detections = chicks_and_cup_frame()
    if not in_base:
        frame = dataclasses.replace(frame, base_T_camera=None)
    resolver = Resolver()
    answered = resolver.look_at(frame, detections).ask(instruction)
    content = content_from(frame, detections, answered.resolution, resolver.config, answered.scene)
    return scene_3d.mesh_of(frame, content)


def coloured(mesh: scene_3d.ColouredMesh, colour: tuple[int, int, int]) -> np.ndarray:
    return mesh.points[(np.abs(mesh.colours - np.array(colour) / 255.0) < 1e-6).all(axis=1)]


def test_the_chosen_box_the_region_and_the_axes_are_where_they_are_in_the_base_frame() -> None:
    mesh = made("the chick behind the cup")
    assert mesh.frame_id == "world"
    green = coloured(mesh, drawing.GREEN)
    bonnet = next(body for body in chicks_and_cup().bodies if body.id == "bonnet")
    near = green[np.linalg.norm(green[:, :2] - bonnet.position[:2], axis=1) < 0.06]
    assert near[:, 2].max() == pytest.approx(0.07, abs=0.01)  # its top
    region = green[np.abs(green[:, 2] - green[:, 2].min()) < 0.02]
    assert region[:, 0].max() > 0.3  # behind the cup, which stands at the origin, seen from -x
    blue = coloured(mesh, drawing.BLUE)
    assert np.linalg.norm(blue, axis=1).min() < 0.01  # the base's z axis begins at its origin
    assert np.linalg.norm(blue - (-0.74, 0.0, 0.43), axis=1).min() < 0.01  # and the camera's at its own


def test_a_place_is_a_plate_on_its_support() -> None:
    mesh = made("put the bonnet chick left of the cup")
    plate = coloured(mesh, drawing.SPOT)
    assert np.abs(plate[:, 2]).max() < 0.02
    assert plate[:, 1].max() > 0.05  # left is +y


def test_without_a_base_frame_it_is_in_the_cameras() -> None:
    mesh = made("the chick behind the cup", in_base=False)
    assert mesh.frame_id == chicks_and_cup_frame()[0].frame_id
    assert np.median(mesh.points[:, 2]) > 0.3


def test_a_frame_that_could_not_be_lifted_still_shows_what_the_camera_saw() -> None:
    frame, _ = chicks_and_cup_frame()
    mesh = scene_3d.mesh_of(frame, None)
    assert len(mesh.triangles) > 10_000
    assert mesh.triangles.max() < len(mesh.points)


def test_a_scene_is_written_and_read_back_without_a_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open3d = pytest.importorskip("open3d")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    mesh = made("the chick behind the cup")
    scene_3d.write_ply(tmp_path / "deep" / "scene.ply", mesh)
    again = open3d.io.read_triangle_mesh(str(tmp_path / "deep" / "scene.ply"))
    np.testing.assert_allclose(np.asarray(again.vertices), mesh.points, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(again.triangles), mesh.triangles)
    np.testing.assert_allclose(np.asarray(again.vertex_colors), mesh.colours, atol=0.51 / 255)
    with pytest.raises(FileError, match="writable location"):
        scene_3d.write_ply(tmp_path / "deep", mesh)


def test_a_window_without_a_display_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DisplayError, match=r"--out scene\.ply"):
        scene_3d.show(made("the chick behind the cup"), "answer")


def test_without_open3d_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(DependencyError, match=r"pip install open3d-cpu"):
        scene_3d.show(made("the chick behind the cup"), "answer")


def test_a_scene_is_written_without_open3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    mesh = made("the chick behind the cup")
    scene_3d.write_ply(tmp_path / "scene.ply", mesh)
    header, _, body = (tmp_path / "scene.ply").read_bytes().partition(b"end_header\n")
    assert f"element vertex {len(mesh.points)}\n".encode() in header
    assert len(body) == 27 * len(mesh.points) + 13 * len(mesh.triangles)


def test_a_full_disk_keeps_the_earlier_scene(tmp_path: Path) -> None:
    place = tmp_path / "scene.ply"
    place.write_bytes(b"earlier")
    mesh = made("the chick behind the cup")
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
