# SPDX-License-Identifier: Apache-2.0
"""A table with objects: built for MuJoCo, let go, looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from research.rendered.items import COLOURS, Item, PlacedItem, samples
from research.rendered.meshes import Floats, Mesh, box
from spatial_vlm_ros.sim.physics import load_mujoco

WIDTH, HEIGHT = 640, 480
TABLE = (1.2, 0.8, 0.7)
"""Extents of the table, metres; its top is at z = 0, its middle at the origin."""
DENSITY = 500.0
"""kg/m³, of which two fifths of the bounding box: plausible is enough, for nothing is pushed."""


@dataclass(frozen=True)
class View:
    """A camera `distance` metres from `target`; `pitch`, `azimuth` to the right of -y, and `fovy` in degrees."""

    target: tuple[float, float, float]
    pitch: float
    distance: float
    azimuth: float
    fovy: float

    @property
    def pose(self) -> Floats:
        """World from optical frame (x right, y down, z forward), (4, 4)."""
        p, a = np.radians(self.pitch), np.radians(self.azimuth)
        forward = np.array([-np.sin(a) * np.cos(p), np.cos(a) * np.cos(p), -np.sin(p)])
        right = np.array([np.cos(a), np.sin(a), 0.0])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
        pose[:3, 3] = np.asarray(self.target) - self.distance * forward
        return pose

    @property
    def k(self) -> Floats:
        """Intrinsic matrix, (3, 3), pixels."""
        f = HEIGHT / 2 / np.tan(np.radians(self.fovy) / 2)
        return np.array([[f, 0, WIDTH / 2 - 0.5], [0, f, HEIGHT / 2 - 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class RenderedFrame:
    """What a camera sees.

    Args:
        depth: (H, W), metres.
        owner: (H, W), index into the names of the bodies, -1 = none of them.
        alone: pixels of each body if nothing hid it.
    """

    rgb: NDArray[np.uint8]
    depth: Floats
    owner: NDArray[np.int64]
    alone: dict[str, int]


@dataclass(frozen=True)
class Looks:
    """Surface of the table (file of a texture, or a colour), floor and light."""

    table: Path | tuple[float, float, float]
    floor: tuple[float, float, float]
    light: float
    side: float


class Stage:
    """PlacedItems on a table.

    Args:
        objects: what is there; whoever holds another one comes before it.
        looks: surfaces and light.
    """

    def __init__(self, objects: Sequence[PlacedItem], looks: Looks) -> None:
        self.objects = {t.name: t for t in objects}
        self._mj = load_mujoco()
        self._spec = self._mj.MjSpec()
        self._spec.visual.global_.offwidth, self._spec.visual.global_.offheight = WIDTH, HEIGHT
        self._spec.option.timestep = 0.002
        self.start: dict[str, tuple[Floats, Floats]] = {}
        self.bodies: list[str] = []
        self._meshes: dict[int, str] = {}
        self._scenery(looks)
        for t in objects:
            self._add(t)
        self.model = self._spec.compile()
        self.data = self._mj.MjData(self.model)
        self._mj.mj_forward(self.model, self.data)

    def settle(self, least: float = 1.0, most: float = 4.0) -> float:
        """Lets go for `least` to `most` seconds; returns the greatest speed that is left, m/s or rad/s."""
        for k in range(int(most / 0.002)):
            self._mj.mj_step(self.model, self.data)
            self.data.qvel *= (
                0.995  # bodies of one density roll for long; drag brings them to rest where they touched down
            )
            if k * 0.002 > least and self.model.nv and np.abs(self.data.qvel).max() < 0.01:
                break
        return float(np.abs(self.data.qvel).max()) if self.model.nv else 0.0

    def pose(self, name: str) -> tuple[Floats, Floats]:
        """Rotation (3, 3) and position (3,) of a body (`name` or `name/part`) in the world."""
        body = self.data.body(name)
        return np.array(body.xmat).reshape(3, 3), np.array(body.xpos)

    def mesh(self, name: str) -> Mesh:
        """The mesh of a body in the world as it is now."""
        r, p = self.pose(name)
        return self._item(name).mesh.moved(r, p)

    def touching(self, a: str, b: str) -> bool:
        """Whether two bodies touch."""
        i, j = self.model.body(a).id, self.model.body(b).id
        owner = self.model.geom_bodyid
        return any({int(owner[c.geom1]), int(owner[c.geom2])} == {i, j} for c in self.data.contact)

    def look(self, view: View) -> RenderedFrame:
        """What the camera sees."""
        mj, model = self._mj, self.model
        camera = model.camera("eye").id
        pose = view.pose
        model.cam_pos[camera] = pose[:3, 3]
        optical = pose[:3, :3] @ np.diag([1.0, -1.0, -1.0])
        quat = np.zeros(4)
        mj.mju_mat2Quat(quat, optical.ravel())
        model.cam_quat[camera], model.cam_fovy[camera] = quat, view.fovy
        mj.mj_forward(model, self.data)
        renderer = mj.Renderer(model, HEIGHT, WIDTH)
        try:
            rgb = self._draw(renderer)
            renderer.enable_depth_rendering()
            depth = self._draw(renderer).astype(np.float64)
            renderer.disable_depth_rendering()
            renderer.enable_segmentation_rendering()
            owner = self._owners(self._draw(renderer))
            alone, groups = {}, np.array(model.geom_group)
            for k, name in enumerate(self.bodies):
                mine = model.geom_bodyid == model.body(name).id
                model.geom_group[:] = np.where(mine, groups, 5)
                alone[name] = int((self._owners(self._draw(renderer)) == k).sum())
            model.geom_group[:] = groups
        finally:
            renderer.close()
        return RenderedFrame(rgb, depth, owner, alone)

    def _draw(self, renderer: Any) -> NDArray[Any]:
        options = self._mj.MjvOption()
        options.geomgroup[:] = [1, 1, 1, 0, 0, 0]
        renderer.update_scene(self.data, "eye", options)
        renderer.scene.flags[self._mj.mjtRndFlag.mjRND_CULL_FACE] = 0  # vessels of one sheet are seen from within
        return np.array(renderer.render())

    def _owners(self, segments: NDArray[Any]) -> NDArray[np.int64]:
        ids = segments[..., 0].astype(np.int64)
        number = {self.model.body(n).id: k for k, n in enumerate(self.bodies)}
        of_geom = np.array([number.get(int(b), -1) for b in self.model.geom_bodyid] + [-1])
        return np.asarray(np.where(segments[..., 1] == int(self._mj.mjtObj.mjOBJ_GEOM), of_geom[ids], -1))

    def _scenery(self, looks: Looks) -> None:
        mj, world = self._mj, self._spec.worldbody
        world.add_camera(name="eye", pos=[0, -1, 1])
        world.add_light(
            pos=[looks.side, -1.0, 2.2], dir=[-looks.side / 2.2, 0.45, -1], diffuse=[looks.light] * 3, castshadow=True
        )
        world.add_light(
            pos=[-looks.side, -0.5, 2.0], dir=[looks.side / 2, 0.2, -1], diffuse=[0.3] * 3, castshadow=False
        )
        world.add_geom(
            type=mj.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1], pos=[0, 0, -0.72], rgba=[*looks.floor, 1], group=1
        )
        world.add_geom(
            type=mj.mjtGeom.mjGEOM_BOX, size=[5, 0.05, 2.0], pos=[0, 2.2, 0.5], rgba=[0.75, 0.76, 0.74, 1], group=1
        )
        x, y, z = TABLE
        top = box((-x / 2, -y / 2, -0.04), (x / 2, y / 2, 0))
        legs = [
            box((a - 0.03, b - 0.03, -z), (a + 0.03, b + 0.03, -0.04))
            for a in (-x / 2 + 0.05, x / 2 - 0.05)
            for b in (-y / 2 + 0.05, y / 2 - 0.05)
        ]
        body = world.add_body(name="table")
        self.bodies.append("table")
        self._table = [top, *legs]
        for m in self._table:
            low, high = m.bounds
            g = body.add_geom(
                type=mj.mjtGeom.mjGEOM_BOX,
                size=list((high - low) / 2),
                pos=list((low + high) / 2),
                group=1,
                friction=[0.9, 0.02, 0.01],
            )
            if isinstance(looks.table, Path):
                g.material = self._material(looks.table, cube=True)
            else:
                g.rgba = [*looks.table, 1]

    def _add(self, t: PlacedItem) -> None:
        rotation = Rotation.from_euler("z", t.turn, degrees=True).as_matrix()
        position = np.array([*t.at, 0.0])
        if t.on is not None:
            holder, room = t.on
            r, p = self.start[holder]
            here = self.objects[holder].item.rooms[room]
            position = p + r @ np.array([here.x + t.at[0], here.y + t.at[1], here.floor])
            rotation = r @ rotation
        self.start[t.name] = (rotation, position)
        lift = np.array([0, 0, 0.004 if t.free else 0.0])
        body = self._body(t.name, t.item, t.colour, rotation, position + lift, t.free)
        for name, part in t.item.parts.items():
            self._body(f"{t.name}/{name}", part, t.colour, rotation, position, free=False)
        del body

    def _body(self, name: str, item: Item, colour: str | None, rotation: Floats, position: Floats, free: bool) -> Any:
        mj = self._mj
        quat = np.zeros(4)
        mj.mju_mat2Quat(quat, rotation.ravel())
        body = self._spec.worldbody.add_body(name=name, pos=list(position), quat=list(quat))
        self.bodies.append(name)
        low, high = item.mesh.bounds
        size = high - low
        if free:
            mass = max(DENSITY * float(size.prod()) * 0.4, 0.02)
            body.add_freejoint()
            body.explicitinertial, body.mass, body.ipos = True, mass, list((low + high) / 2)
            body.inertia = list(
                mass
                / 12
                * np.maximum(
                    [size[1] ** 2 + size[2] ** 2, size[0] ** 2 + size[2] ** 2, size[0] ** 2 + size[1] ** 2], 1e-4
                )
            )
        g = body.add_geom(
            type=mj.mjtGeom.mjGEOM_MESH, meshname=self._mesh(item.mesh), group=1, contype=0, conaffinity=0
        )
        if item.mesh.texture is not None and item.mesh.uv is not None:
            g.material = self._material(item.mesh.texture)
        else:
            g.rgba = [*COLOURS[colour or item.colour or "white"], 1]
        contact = {"group": 3, "friction": [0.9, 0.02, 0.01], "rgba": [0, 1, 0, 1]}
        if item.solid == "hull":
            body.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=self._mesh(item.mesh), **contact)
        else:
            for middle, half, turn in cells(item):
                body.add_geom(
                    type=mj.mjtGeom.mjGEOM_BOX,
                    pos=list(middle),
                    size=list(half),
                    quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)],
                    **contact,
                )
        return body

    def _mesh(self, mesh: Mesh) -> str:
        if id(mesh) not in self._meshes:
            name = f"mesh{len(self._meshes)}"
            m = self._spec.add_mesh(name=name, inertia=self._mj.mjtMeshInertia.mjMESH_INERTIA_SHELL)
            m.uservert, m.userface = mesh.vertices.ravel(), mesh.faces.astype(np.int32).ravel()
            if mesh.uv is not None and mesh.texture is not None:
                m.usertexcoord = np.c_[mesh.uv[:, 0], mesh.uv[:, 1]].ravel()
            self._meshes[id(mesh)] = name
        return self._meshes[id(mesh)]

    def _material(self, file: Path, cube: bool = False) -> str:
        name = f"{file}{'_cube' if cube else ''}"
        if self._spec.material(name) is None:
            found = cv2.imread(str(file))
            if found is None:
                raise FileNotFoundError(f"{file}: no image. Give a whole checkout of the source.")
            image = cv2.cvtColor(cv2.resize(found, (512, 512), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
            kind = self._mj.mjtTexture.mjTEXTURE_2D
            texture = self._spec.add_texture(name=name, type=kind, width=512, height=512, nchannel=3)
            texture.data = image.tobytes()
            material = self._spec.add_material(name=name, texrepeat=[2, 2] if cube else [1, 1], specular=0.2)
            material.textures[self._mj.mjtTextureRole.mjTEXROLE_RGB] = name
        return name

    def _item(self, name: str) -> Item:
        object_, _, part = name.partition("/")
        return self.objects[object_].item.parts[part] if part else self.objects[object_].item


def cells(item: Item, sectors: int = 20, slices: int = 10) -> list[tuple[Floats, Floats, float]]:
    """Boxes (middle, half extents, turn about z in radians) that cover a surface, so that hollows stay hollow.

    Round objects are cut by angle and height, others by a grid of 14 x 8 x 24 cells.
    """
    mesh = item.mesh
    points = np.concatenate([samples(mesh), mesh.vertices])
    low, high = points.min(0), points.max(0)
    found = []
    if item.label in ROUND:
        middle = np.zeros(2)
        angle = np.arctan2(points[:, 1] - middle[1], points[:, 0] - middle[0])
        sector = np.floor((angle + np.pi) / (2 * np.pi) * sectors).astype(int) % sectors
        level = np.minimum(((points[:, 2] - low[2]) / (high[2] - low[2]) * slices).astype(int), slices - 1)
        for s in range(sectors):
            turn = (s + 0.5) / sectors * 2 * np.pi - np.pi
            c, n = np.cos(turn), np.sin(turn)
            for z in range(slices):
                inside = points[(sector == s) & (level == z)]
                if len(inside) >= 4:
                    local = np.stack(
                        [c * inside[:, 0] + n * inside[:, 1], -n * inside[:, 0] + c * inside[:, 1], inside[:, 2]], 1
                    )
                    a, b = local.min(0), local.max(0)
                    m = (a + b) / 2
                    found.append(
                        (
                            np.array([c * m[0] - n * m[1], n * m[0] + c * m[1], m[2]]),
                            np.maximum((b - a) / 2, 0.001),
                            turn,
                        )
                    )
        return found
    counts = np.array([14, 8, 24])
    index = np.minimum(((points - low) / np.maximum(high - low, 1e-9) * counts).astype(int), counts - 1)
    code = index @ np.array([1, 100, 10000])
    order = np.argsort(code, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        if len(group) >= 3:
            a, b = points[group].min(0), points[group].max(0)
            found.append(((a + b) / 2, np.maximum((b - a) / 2, 0.001), 0.0))
    return found


ROUND = frozenset(
    {"cup", "bowl", "sugar bowl", "saucer", "plate", "frying pan", "ring", "mug", "flower pot", "utensil holder"}
)
"""Labels of objects that are cut by angle."""
