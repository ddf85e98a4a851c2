# SPDX-License-Identifier: Apache-2.0
"""The 3-D scene: every part where geometry says it is, in the base frame; written without a display."""

from __future__ import annotations

import dataclasses
import functools
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from chicks import BEHIND, FRAME, SEEN, content

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import DependencyError, DisplayError, FileError
from spatial_vlm_ros.output import drawing, scene_3d
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.sim.examples import chicks_and_cup


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


def test_without_open3d_a_scene_is_written_and_to_show_it_the_extra_or_the_display_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
