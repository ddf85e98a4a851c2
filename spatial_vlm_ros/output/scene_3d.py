# SPDX-License-Identifier: Apache-2.0
"""Show the answer in three dimensions: measured surface, boxes, the relation's region, spots, coordinate frames.

Everything is one coloured mesh in metres, in the base frame if the frame has one, else in the camera frame. Open3D is
imported only to show it in a window.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, DisplayError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.writing import writing
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.answer_content import AnswerContent, ShownRegion, in_camera
from spatial_vlm_ros.output.answer_roles import Role
from spatial_vlm_ros.output.drawing import Colour
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import RgbdFrame

_MOST = 160_000  # most depth pixels that become points
_JUMP = 0.02  # metres, and share of the distance: neighbours with a larger step in depth belong to different surfaces
_BAR = 0.0015  # metres: half the thickness of lines
_LIFT = 0.003  # metres by which things on a surface are raised when drawn
_AXIS = 0.1  # metres: axes of camera and base
_CORNER = np.dtype([("at", "<f8", 3), ("colour", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("rows", "<u4", 3)])
_REPAIR = install("view")

Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ColouredMesh:
    """Triangles with a colour at each corner."""

    points: Array  # (N, 3) metres
    colours: Array  # (N, 3) red, green, blue, 0 to 1
    triangles: Indices  # (M, 3) rows of points
    frame_id: str


_Part = tuple[Array, Array, Indices]  # points in the camera frame, colours, triangles


def mesh_of(frame: RgbdFrame, content: AnswerContent | None) -> ColouredMesh:
    """Make a mesh of the camera's surface and, if there is a scene, of the answer."""
    if content is not None:
        frame = content.layout.scene.frame
    base = frame.base_T_camera
    parts = [_seen(frame), *_frame(np.zeros(3), np.eye(3), _AXIS)]
    if base is not None:
        camera_T_base = base.inverse()
        parts += _frame(camera_T_base.translation, camera_T_base.rotation, _AXIS)
    if content is not None:
        parts += _objects(content)
        for spot in content.spots:
            corners = in_camera(content.layout, spot.corners, spot.height + _LIFT)
            count = len(corners)
            parts.append(_bars([(corners[n], corners[(n + 1) % count]) for n in range(count)], drawing.SPOT))
            if spot.number == 1:  # the best one is a plate
                middle = in_camera(content.layout, spot.middle[None], spot.height + _LIFT)
                fan = np.array([(count, n, (n + 1) % count) for n in range(count)], np.int32)
                parts.append(_coloured(np.vstack((corners, middle)), drawing.SPOT, fan))
        if content.region is not None:
            parts.append(_region(content, content.region))
    points, colours, triangles = _joined(parts)
    if base is None:
        return ColouredMesh(points, colours, triangles, frame.frame_id)
    return ColouredMesh(base.apply(points), colours, triangles, base.parent)


# ------------------------------------------------------------------------------------------------ files, window


def write_ply(path: Path, mesh: ColouredMesh, *, force: bool = False) -> None:
    """Write a mesh as binary PLY; needs neither Open3D nor a display. Only `force` replaces an existing file."""
    corners = np.empty(len(mesh.points), _CORNER)
    corners["at"], corners["colour"] = mesh.points, np.round(np.clip(mesh.colours, 0.0, 1.0) * 255)
    faces = np.empty(len(mesh.triangles), _FACE)
    faces["count"], faces["rows"] = 3, mesh.triangles
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(corners)}"]
    header += [f"property double {axis}" for axis in "xyz"]
    header += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header += [f"element face {len(faces)}", "property list uchar uint vertex_indices", "end_header", ""]
    with writing(path, force=force) as file:
        file.write("\n".join(header).encode())
        file.write(corners.tobytes())
        file.write(faces.tobytes())


def show(mesh: ColouredMesh, title: str) -> None:
    """Show a mesh in a window until it is closed."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise DisplayError("neither DISPLAY nor WAYLAND_DISPLAY is set")
    try:
        import open3d
    except ImportError as error:
        raise DependencyError("open3d", _REPAIR) from error
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    window = open3d.visualization.Visualizer()
    if not window.create_window(window_name=title):
        raise DisplayError("no window can be opened on the display")
    try:
        made = open3d.geometry.TriangleMesh()
        made.vertices = open3d.utility.Vector3dVector(mesh.points)
        made.vertex_colors = open3d.utility.Vector3dVector(mesh.colours)
        made.triangles = open3d.utility.Vector3iVector(mesh.triangles)
        window.add_geometry(made)
        window.get_render_option().mesh_show_back_face = True
        window.get_render_option().light_on = False
        window.run()
    finally:
        window.destroy_window()


# ------------------------------------------------------------------------------------------------ parts


def _seen(frame: RgbdFrame) -> _Part:
    """The depth image as a coloured surface, cut at steps in depth."""
    every = int(np.ceil(np.sqrt(frame.depth.size / _MOST)))
    z = frame.depth[::every, ::every].astype(np.float64)
    xs, ys = (axis[::every] for axis in normalised_axes(frame.camera))
    points = np.stack((xs * z, ys[:, None] * z, z), axis=2)
    known = np.isfinite(z)
    number = np.cumsum(known.reshape(-1)).reshape(z.shape) - 1
    corners = np.stack((number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]), axis=2)
    depths = np.stack((z[:-1, :-1], z[1:, :-1], z[1:, 1:], z[:-1, 1:]), axis=2)
    triangles = []
    for three in ((0, 1, 2), (0, 2, 3)):
        of = depths[..., three]
        with np.errstate(invalid="ignore"):
            whole = of.max(axis=2) - of.min(axis=2) < _JUMP * np.maximum(of.min(axis=2), 1.0)
        triangles.append(corners[..., three][whole])
    colours = frame.rgb[::every, ::every][known] / 255.0
    return points[known], colours, np.vstack(triangles).astype(np.int32)


def _objects(content: AnswerContent) -> Iterator[_Part]:
    """Outlines as prisms of bars, and the gravity-up box of the chosen object."""
    layout = content.layout
    for outline in content.outlines:
        count = len(outline.corners)
        low, high = (in_camera(layout, outline.corners, height) for height in (outline.bottom, outline.top))
        ring = [(n, (n + 1) % count) for n in range(count)]
        lines = [(low[a], low[b]) for a, b in ring] + [(high[a], high[b]) for a, b in ring]
        lines += [(low[n], high[n]) for n in range(0, count, max(count // 4, 1))]
        yield _bars(lines, drawing.COLOURS[outline.role])
    for row in content.rows(Role.CHOSEN):
        obj = layout.scene.objects[row]
        if obj.depth_problem is None:
            corners = obj.box.corners()
            yield _bars([(corners[a], corners[b]) for a, b in drawing.BOX_EDGES], drawing.COLOURS[Role.CHOSEN])
            yield from _frame(obj.box.centre, obj.box.axes, _AXIS / 2)


def _region(content: AnswerContent, region: ShownRegion) -> _Part:
    """The region as a raster of separate squares: larger ones where the relation holds."""
    g1, g2 = (np.linspace(a, b, n) for a, b, n in zip(region.low, region.high, region.score.shape, strict=True))
    places = np.stack(np.meshgrid(g1, g2, indexing="ij"), axis=2).reshape(-1, 2)
    score = region.score.reshape(-1)
    cell = (region.high - region.low) / (np.array(region.score.shape) - 1)
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * cell / 2
    parts = []
    for low, high, side in ((region.limit, np.inf, 0.5), (-region.limit, region.limit, 0.2)):
        middles = places[(score >= low) & (score < high)]
        corners = (middles[:, None] + side * square).reshape(-1, 2)
        first = 4 * np.arange(len(middles))[:, None]
        triangles = np.vstack((np.add(first, (0, 1, 2)), np.add(first, (0, 2, 3))))
        points = in_camera(content.layout, corners, region.height + _LIFT)
        parts.append(_coloured(points, drawing.HOLDS, triangles))
    return _joined(parts)


def _frame(origin: Array, axes: Array, length: float) -> Iterator[_Part]:
    """Axes of a frame: x, y, z in the palette's red, green and blue."""
    for axis, colour in zip(axes.T, drawing.AXES, strict=True):
        yield _bars([(origin, origin + length * axis)], colour)


_SIDES = np.array([(0, 1, 5), (0, 5, 4), (1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7)], np.int32)


def _bars(lines: Sequence[tuple[Array, Array]], colour: Colour) -> _Part:
    ends = np.array(lines)  # (L, 2, 3)
    way = ends[:, 1] - ends[:, 0]
    length = np.linalg.norm(way, axis=1, keepdims=True)
    ahead = way / np.maximum(length, 1e-9)
    other = np.where(np.abs(ahead[:, 2:]) < 0.9, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    aside = np.cross(ahead, other)
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    across = np.cross(ahead, aside)
    around = np.stack((aside + across, aside - across, -aside - across, across - aside), axis=1) * _BAR
    points = np.concatenate((ends[:, :1] + around, ends[:, 1:] + around), axis=1).reshape(-1, 3)
    triangles = (_SIDES[None] + 8 * np.arange(len(ends))[:, None, None]).reshape(-1, 3)
    return _coloured(points, colour, triangles)


def _coloured(points: Array, colour: Colour, triangles: npt.NDArray[np.integer]) -> _Part:
    return points, np.broadcast_to(np.array(colour) / 255.0, points.shape), triangles.astype(np.int32)


def _joined(parts: list[_Part]) -> _Part:
    points, colours, triangles = zip(*parts, strict=True)
    begins = np.cumsum([0, *(len(some) for some in points)])
    rows = [some + begin for some, begin in zip(triangles, begins, strict=False)]
    return np.vstack(points), np.vstack(colours), np.vstack(rows).astype(np.int32)
