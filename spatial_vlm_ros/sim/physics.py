# SPDX-License-Identifier: Apache-2.0
"""A tabletop whose objects have settled under gravity, and renderings of a MuJoCo model from any pinhole camera."""

from __future__ import annotations

import ctypes.util
import importlib
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.sim.meshes import Array, Colour, Model, PaintedSurface
from spatial_vlm_ros.sim.tabletop import Pattern, Rendering, Scenery, as_bytes
from spatial_vlm_ros.sim.truth import Placed, TrueObject, outline_of, tight_box
from spatial_vlm_ros.types import Depth, Detection, Mask, PinholeCamera, Rgb, RgbdFrame, Transform, Vector3

SEEN, COLLIDES = 0, 3
"""Groups of geoms."""
TIME_STEP = 0.003
_SHADOW_MAP = 1024  # pixels a side; 4096 halves the speed on a CPU
_SAMPLES = 4  # samples per pixel
_SMALL = (64, 48)  # initial size of a drawing context in pixels; the renderer asks for its own
_TORSION = 0.003  # friction against turning on the spot, metres
_DAMPING = 1e-4  # air drag and softness, N s/m and N m s
_MOTTLE = "mottle"


@dataclass(frozen=True, eq=False)
class PlacedModel:
    """A model, its start pose in the base frame (foot in metres, yaw in radians), and the relation it was placed by."""

    id: str
    model: Model
    position: Vector3
    yaw: float = 0.0
    placed: Placed | None = None


def compile_model(
    objects: Sequence[PlacedModel], scenery: Scenery, extend: Callable[[Any, Any], None] | None = None
) -> Any:
    """Make a MuJoCo model: one free body per object, named by its id; visible geoms are named "id/number"."""
    ids = [obj.id for obj in objects]
    if len(set(ids)) != len(ids):
        raise InputError("ids of objects", ", ".join(ids), "each id once", "number the objects")
    mj = load_mujoco()
    spec = mj.MjSpec()
    spec.option.timestep = TIME_STEP
    spec.option.integrator = mj.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mj.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5
    if hasattr(mj.mjtEnableBit, "mjENBL_MULTICCD"):  # before MuJoCo 4, several contacts of two hulls must be enabled
        spec.option.enableflags |= int(mj.mjtEnableBit.mjENBL_MULTICCD)
    spec.stat.extent = 1.2
    spec.stat.center = [*scenery.table_centre, scenery.table_height]
    vis = spec.visual
    vis.quality.shadowsize, vis.quality.offsamples = _SHADOW_MAP, _SAMPLES
    vis.global_.offwidth, vis.global_.offheight = _SMALL
    vis.map.zfar, vis.map.znear = 20.0, 0.01
    vis.headlight.ambient = [scenery.ambient] * 3
    vis.headlight.diffuse = vis.headlight.specular = [0.0] * 3
    _add_room(mj, spec, scenery)
    for light in scenery.lights:
        ahead = np.subtract(light.towards, light.position)
        spec.worldbody.add_light(
            pos=light.position,
            dir=ahead / np.linalg.norm(ahead),
            type=mj.mjtLightType.mjLIGHT_SPOT if light.shadows else mj.mjtLightType.mjLIGHT_DIRECTIONAL,
            cutoff=60,
            exponent=1,
            diffuse=light.brightness,
            specular=[0.5 * b for b in light.brightness],
            ambient=[0, 0, 0],
            castshadow=light.shadows,
        )
    for obj in objects:
        _add_object(mj, spec, obj)
    if extend is not None:
        extend(mj, spec)
    model = spec.compile()
    for id_ in ids:
        first = model.body(id_).dofadr[0]
        model.dof_damping[first : first + 6] = _DAMPING
    return model


def _add_room(mj: Any, spec: Any, scenery: Scenery) -> None:
    world = spec.worldbody
    _add_pattern(mj, spec, "table", scenery.table, 1.0)
    _add_pattern(mj, spec, "floor", scenery.floor, 0.7)
    rng = np.random.default_rng(0)
    grey = 1 - np.abs(0.05 * rng.standard_normal((6 * 32, 32)))
    texture = spec.add_texture(name=_MOTTLE, type=mj.mjtTexture.mjTEXTURE_CUBE, width=32, height=192, nchannel=3)
    texture.data = as_bytes(255 * np.repeat(grey[..., None], 3, axis=2)).tobytes()
    (x, y), (w, d), top = scenery.table_centre, scenery.table_size, scenery.table_height
    board = {"type": mj.mjtGeom.mjGEOM_BOX, "size": [w / 2, d / 2, 0.02], "pos": [x, y, top - 0.02]}
    world.add_geom(name="table", material="table", friction=[0.7, _TORSION, 0.0], group=SEEN, **board)
    legs = (scenery.floor_height + top - 0.04) / 2
    for sx in (-1, 1):
        for sy in (-1, 1):
            place = [x + sx * (w / 2 - 0.05), y + sy * (d / 2 - 0.05), legs]
            size = [0.025, 0.025, top - 0.04 - legs]
            _add_decoration(world, mj.mjtGeom.mjGEOM_BOX, size, place, (90, 80, 72))
    ground = {"size": [6, 6, 0.1], "pos": [x, y, scenery.floor_height]}
    world.add_geom(type=mj.mjtGeom.mjGEOM_PLANE, material="floor", contype=0, conaffinity=0, group=SEEN, **ground)
    for angle in np.arange(4) * math.pi / 2:
        out = 2.6 * np.array([math.cos(angle), math.sin(angle)])
        size = [0.05, 2.7, 1.6] if abs(out[0]) > 1 else [2.7, 0.05, 1.6]
        place = [x + out[0], y + out[1], scenery.floor_height + 1.6]
        _add_decoration(world, mj.mjtGeom.mjGEOM_BOX, size, place, scenery.wall)


def _add_decoration(world: Any, kind: Any, size: list[float], place: list[float], colour: Colour) -> None:
    world.add_geom(type=kind, size=size, pos=place, rgba=_rgba(colour), contype=0, conaffinity=0, group=SEEN)


def _add_pattern(mj: Any, spec: Any, name: str, pattern: Pattern, metres: float) -> None:
    height, width, _ = pattern.shape
    texture = spec.add_texture(name=name, type=mj.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = pattern.tobytes()
    material = spec.add_material(name=name, texuniform=True, texrepeat=[1 / metres] * 2, specular=0.1, shininess=0.2)
    material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_object(mj: Any, spec: Any, obj: PlacedModel) -> None:
    model = obj.model
    half = obj.yaw / 2
    quaternion = [math.cos(half), 0.0, 0.0, math.sin(half)]
    body = spec.worldbody.add_body(name=obj.id, pos=obj.position, quat=quaternion)
    body.add_freejoint()
    x, y, z = model.size
    body.mass, body.ipos, body.explicitinertial = model.mass, model.centre_of_mass, True
    body.inertia = model.mass / 12 * np.array([y * y + z * z, x * x + z * z, x * x + y * y])
    for number, part in enumerate(model.parts):
        name = f"{obj.id}/{number}"
        material = add_surface(mj, spec, name, part, (0.9, 0.8) if part.shiny else (0.25, 0.4))
        if part.mottled:
            material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = _MOTTLE
        shape = {"type": mj.mjtGeom.mjGEOM_MESH, "meshname": name}
        body.add_geom(name=name, material=name, group=SEEN, contype=0, conaffinity=0, mass=0.0, **shape)
    kinds = {"box": "BOX", "cylinder": "CYLINDER", "ball": "SPHERE", "ellipsoid": "ELLIPSOID", "capsule": "CAPSULE"}
    friction = [model.friction, _TORSION, model.rolling]
    grip = {"friction": friction, "condim": 6 if model.rolling else 4, "solref": [0.008, 1.0], "mass": 0.0}
    for number, solid in enumerate(model.solids):
        if solid.corners is not None:
            mesh = spec.add_mesh(name=f"{obj.id}#{number}", uservert=solid.corners.ravel())
            mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=mesh.name, group=COLLIDES, **grip)
            continue
        turned = np.array([1.0, 0.0, 0.0, 0.0])  # quaternion w, x, y, z
        if solid.rotation is not None:
            mj.mju_mat2Quat(turned, np.ascontiguousarray(solid.rotation).ravel())
        kind = getattr(mj.mjtGeom, f"mjGEOM_{kinds[solid.kind]}")
        size = [*solid.size, 0.0, 0.0][:3]
        body.add_geom(type=kind, size=size, pos=solid.position, quat=turned, group=COLLIDES, **grip)


def add_surface(mj: Any, spec: Any, name: str, part: PaintedSurface, gloss: tuple[float, float]) -> Any:
    """Add a mesh and a material, specular and shining by `gloss`, of one name; returns the material."""
    mesh = spec.add_mesh(name=name, uservert=part.mesh.vertices.ravel(), userface=part.mesh.faces.ravel())
    mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL  # surfaces; mass and inertia are set on the body
    return spec.add_material(name=name, rgba=_rgba(part.colour), specular=gloss[0], shininess=gloss[1])


def _rgba(colour: Colour) -> list[float]:
    return [*(c / 255 for c in colour), 1.0]


_NAME = "mujoco"


@lru_cache(maxsize=1)
def load_mujoco() -> Any:
    """Import mujoco to draw off screen: with EGL, or OSMesa without EGL, unless MUJOCO_GL (which it sets) is set."""
    if not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = "osmesa" if not _has("EGL") and _has("OSMesa") else "egl"
    try:
        return importlib.import_module(_NAME)
    except ModuleNotFoundError as error:
        if error.name == _NAME:
            raise ModelError(_NAME, "not installed", "pip install mujoco") from error
        raise no_drawing(error) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise no_drawing(error) from error


def drawing_context() -> Any:
    """Make a new OpenGL context without a window, of the kind that MUJOCO_GL names, and make it current.

    MuJoCo makes its own choice at its first import, perhaps before MUJOCO_GL was set.
    """
    mj, kind = load_mujoco(), os.environ["MUJOCO_GL"].lower()
    try:
        source = importlib.import_module(f"{_NAME}.{kind}") if kind in ("egl", "osmesa", "glfw") else mj
        context = source.GLContext(64, 64)
        context.make_current()
    except Exception as error:  # drivers fail in different ways
        raise no_drawing(error) from error
    return context


def no_drawing(error: Exception) -> ModelError:
    """The error if no off-screen drawing context is available."""
    reason = f"it cannot draw with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {type(error).__name__}: {error}"
    repair = "apt install libegl1 libegl-mesa0 libgl1-mesa-dri (MUJOCO_GL=egl) or libosmesa6 (MUJOCO_GL=osmesa)"
    return ModelError(_NAME, reason, repair)


def _has(library: str) -> bool:
    return ctypes.util.find_library(library) is not None


STILL_SPEED, STILL_TURN = 0.003, 0.06
"""An object slower than this (m/s, rad/s) is at rest."""
_STILL_STEPS, _LONGEST = 40, 3.0  # steps at rest in a row that end settling; seconds after which it ends in any case


@dataclass(frozen=True, eq=False)
class PhysicsRendering(Rendering):
    """A rendering with a (H, W) mask of shiny surfaces (metal, glass) for `sensor.noisy`."""

    shiny: Mask


class PhysicsWorld(AbstractContextManager["PhysicsWorld"]):
    """Settled objects on a table. Close its drawing context with `close()` or use it as a context manager.

    The base frame has z up; MuJoCo's world frame is the base frame. `render` uses `base_T_camera` by default.
    """

    def __init__(self, objects: Sequence[PlacedModel], scenery: Scenery, base_T_camera: Transform) -> None:
        self.scenery, self.base_T_camera = scenery, base_T_camera
        self.objects = {obj.id: obj for obj in objects}
        self._mj = load_mujoco()
        self._model = compile_model(objects, scenery)
        self._data = self._mj.MjData(self._model)
        self._renderer: SceneRenderer | None = None
        self._settle()

        truth = {}
        for id_, obj in self.objects.items():
            at = self._data.body(id_)
            pose = Transform(base_T_camera.parent, id_, rigid_matrix(at.xmat.reshape(3, 3), at.xpos))
            points = pose.apply(obj.model.vertices)
            outline = outline_of(points)
            box = tight_box(points, outline)
            truth[id_] = TrueObject(id_, obj.model.label, obj.model.attributes, pose, *box, outline, obj.placed)
        self.truth: Mapping[str, TrueObject] = MappingProxyType(truth)

    def _settle(self) -> None:
        """Let everything come to rest; a world that stands as it is drawn overrides this."""
        still = 0
        for _ in range(int(_LONGEST / TIME_STEP)):
            self._mj.mj_step(self._model, self._data)
            still = still + 1 if self.at_rest() else 0
            if still >= _STILL_STEPS:
                break
        self._mj.mj_forward(self._model, self._data)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the drawing context; rendering again makes a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def at_rest(self) -> bool:
        """Whether nothing moves faster than STILL_SPEED or turns faster than STILL_TURN."""
        velocity = self._data.qvel.reshape(-1, 2, 3)
        speed, turning = np.linalg.norm(velocity, axis=2).max(axis=0, initial=0.0)
        return bool(speed < STILL_SPEED and turning < STILL_TURN)

    def render(
        self, camera: PinholeCamera, base_T_camera: Transform | None = None, stamp_ns: int = 0
    ) -> PhysicsRendering:
        """Render with a perfect camera and a perfect detector; nothing moves meanwhile.

        The frame has exact depth (NaN beyond the scenery's range). Raises InputError for a camera with distortion, or
        in another thread than the one that rendered first, and ModelError if no drawing context is available.
        """
        pose = self.base_T_camera if base_T_camera is None else base_T_camera
        if self._renderer is None:
            self._renderer = SceneRenderer(self._model, self._data, self.objects)
        renderer = self._renderer
        image = renderer.draw(camera, pose)
        masks = renderer.masks(image.geom)
        fractions = self._visible_fractions(renderer, camera, pose, renderer.counted(image.geom))
        return PhysicsRendering(
            image.frame(camera, pose, self.scenery.max_range, stamp_ns),
            renderer.detections(masks),
            MappingProxyType(masks),
            MappingProxyType(fractions),
            renderer.shiny(image.geom),
        )

    def _visible_fractions(
        self, renderer: SceneRenderer, camera: PinholeCamera, pose: Transform, count: Mapping[str, int]
    ) -> dict[str, float]:
        """Visible pixels of each object relative to its pixels without the others.

        Objects with disjoint windows in the image are drawn together, so that few images are needed.
        """
        groups: list[dict[str, Array]] = []  # id → left, top, right, bottom of a window around its image
        for id_ in count:
            pixels = project(camera, pose.inverse().apply(self.truth[id_].corners()))
            window = np.array([-np.inf, -np.inf, np.inf, np.inf])  # if a corner is behind the camera
            if np.isfinite(pixels).all():
                window = np.concatenate([pixels.min(axis=0) - 1, pixels.max(axis=0) + 1])
            for group in groups:
                if not any((window[:2] <= other[2:]).all() and (other[:2] <= window[2:]).all()
                           for other in group.values()):  # fmt: skip
                    group[id_] = window
                    break
            else:
                groups.append({id_: window})
        whole: dict[str, int] = {}
        for group in groups:
            whole.update(renderer.alone(camera, pose, list(group)))
        return {id_: min(n / max(whole[id_], 1), 1.0) for id_, n in count.items()}


NEAR, FAR = 0.02, 20.0
"""Near and far plane of the drawing, metres along optical z."""
_HIDDEN = 5  # a group of geoms that is never drawn
_MOST_GEOMS = 4000
Geoms = npt.NDArray[np.int32]  # (H, W) numbers of geoms, -1 = none


@dataclass(frozen=True, eq=False)
class RenderedImage:
    """Image of a camera."""

    rgb: Rgb
    depth: Depth  # (H, W), metres along optical z; NaN at empty pixels
    geom: npt.NDArray[np.int32]  # (H, W), index of the geom at the centre of each pixel; -1 = none

    def frame(self, camera: PinholeCamera, pose: Transform, max_range: float, stamp_ns: int) -> RgbdFrame:
        """Make a frame without depth beyond `max_range`, metres; `pose` is the camera's as the frame tells it."""
        depth = np.where(self.depth <= max_range, self.depth, np.float32(np.nan))
        return RgbdFrame(self.rgb, depth, camera, stamp_ns, pose.child, pose, domain="simulated")


class SceneRenderer:
    """Draws one model and finds objects, in the order of their detections. Use and `close()` it in one thread."""

    def __init__(self, model: Any, data: Any, objects: Mapping[str, PlacedModel] = MappingProxyType({})) -> None:
        self._objects, shown = objects, model.geom_group == SEEN
        self._seen = {
            id_: np.flatnonzero(shown & (model.geom_bodyid == model.body(id_).id)).tolist() for id_ in objects
        }
        self._owner = np.full(model.ngeom + 1, -1, np.int32)  # index of the object of each geom; the last: none
        for number, geoms in enumerate(self._seen.values()):
            self._owner[geoms] = number
        self._shines = np.zeros(model.ngeom + 1, np.bool_)
        for id_, obj in objects.items():
            for number, part in enumerate(obj.model.parts):
                self._shines[model.geom(f"{id_}/{number}").id] = part.shiny
        self._mj = mj = load_mujoco()
        self._model, self._data, self._thread = model, data, threading.get_ident()
        self._size = (0, 0)
        self._gl: Any = drawing_context()
        try:
            self._context: Any = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # drivers fail in different ways
            raise no_drawing(error) from error
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mj.mjtDepthMap.mjDEPTH_ZEROFAR  # finest for near depths
        self._scene = mj.MjvScene(model, maxgeom=_MOST_GEOMS)
        self._option, self._free = mj.MjvOption(), mj.MjvCamera()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[SEEN] = 1

    def close(self) -> None:
        """Free the drawing context; further calls do nothing."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()  # before its GL context, or the next renderer would draw nothing
            self._gl.free()
            self._gl = None

    def draw(self, camera: PinholeCamera, base_T_camera: Transform) -> RenderedImage:
        """Render colour, depth and instance numbers of a rectified camera; the pose maps it to the world frame.

        Raises InputError for a camera with distortion or another thread, ModelError if the renderer is closed.
        """
        self._prepare(camera, base_T_camera)
        rgb, _ = self._read(camera, numbers=False)
        codes, depth = self._read(camera, numbers=True)
        return RenderedImage(rgb, depth, self._geoms(codes))

    def alone(self, camera: PinholeCamera, base_T_camera: Transform, ids: Sequence[str]) -> dict[str, int]:
        """Return the number of pixels of some objects, with nothing else in the world; raises as `draw`."""
        groups = self._model.geom_group.copy()
        self._model.geom_group[:] = _HIDDEN
        self._model.geom_group[[geom for id_ in ids for geom in self._seen[id_]]] = SEEN
        try:
            self._prepare(camera, base_T_camera)
            counts = self.counted(self._geoms(self._read(camera, numbers=True)[0]))
            return {id_: counts[id_] for id_ in ids}
        finally:
            self._model.geom_group[:] = groups

    def masks(self, geom: Geoms) -> dict[str, Mask]:
        """(H, W) bool mask for each object."""
        owner = self._owner[geom]
        return {id_: owner == number for number, id_ in enumerate(self._objects)}

    def counted(self, geom: Geoms) -> dict[str, int]:
        """Number of pixels of each object."""
        counts = np.bincount(self._owner[geom].ravel() + 1, minlength=len(self._objects) + 1)  # the first: of none
        return dict(zip(self._objects, counts[1:].tolist(), strict=True))

    def shiny(self, geom: Geoms) -> Mask:
        """(H, W) bool mask of metal and glass."""
        return self._shines[geom]

    def detections(self, masks: Mapping[str, Mask]) -> tuple[Detection, ...]:
        """Detections of a perfect detector for objects with a visible pixel: tight boxes, exact masks."""
        models = {id_: self._objects[id_].model for id_, mask in masks.items() if mask.any()}
        return tuple(
            Detection(id_, model.label, 1.0, box_around(masks[id_]), masks[id_], model.attributes)
            for id_, model in models.items()
        )

    def _prepare(self, camera: PinholeCamera, base_T_camera: Transform) -> None:
        if self._gl is None:
            raise ModelError("renderer", "it is closed", "make a new renderer")
        if not camera.is_rectified:
            raise InputError("camera D", str(camera.D), "none", "render with a rectified camera")
        if threading.get_ident() != self._thread:
            raise InputError("thread", "another thread", "the thread that made the renderer", "render from one thread")
        mj = self._mj
        self._gl.make_current()
        if self._size != (camera.width, camera.height):
            mj.mjr_resizeOffscreen(camera.width, camera.height, self._context)
            self._size = (camera.width, camera.height)
        every = mj.mjtCatBit.mjCAT_ALL
        mj.mjv_updateScene(self._model, self._data, self._option, None, self._free, every, self._scene)
        # A frustum with the pixel centres of `camera`: (0, 0) is the centre of the top-left pixel, so the image spans
        # -0.5 to width - 0.5.
        R, t = base_T_camera.rotation, base_T_camera.translation
        fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
        left, right = (-0.5 - cx) / fx * NEAR, (camera.width - 0.5 - cx) / fx * NEAR
        for eye in self._scene.camera:
            eye.pos, eye.forward, eye.up = t, R[:, 2], -R[:, 1]
            eye.orthographic = 0
            eye.frustum_near, eye.frustum_far = NEAR, FAR
            eye.frustum_center, eye.frustum_width = (left + right) / 2, (right - left) / 2
            eye.frustum_top, eye.frustum_bottom = (cy + 0.5) / fy * NEAR, -(camera.height - 0.5 - cy) / fy * NEAR

    def _read(self, camera: PinholeCamera, numbers: bool) -> tuple[npt.NDArray[np.uint8], Depth]:
        """Draw colours or numbers; returns (H, W, 3) uint8 and depth (H, W), first row on top."""
        mj, flags = self._mj, self._scene.flags
        flags[mj.mjtRndFlag.mjRND_SEGMENT] = flags[mj.mjtRndFlag.mjRND_IDCOLOR] = int(numbers)
        flags[mj.mjtRndFlag.mjRND_SHADOW] = int(not numbers)
        flags[mj.mjtRndFlag.mjRND_REFLECTION] = 0
        window = mj.MjrRect(0, 0, camera.width, camera.height)
        rgb = np.empty((camera.height, camera.width, 3), np.uint8)
        inverse = np.empty((camera.height, camera.width), np.float32) if numbers else None
        mj.mjr_render(window, self._scene, self._context)
        mj.mjr_readPixels(rgb, inverse, window, self._context)
        rgb = np.ascontiguousarray(rgb[::-1])
        if inverse is None:
            return rgb, np.empty((0, 0), np.float32)
        inverse = inverse[::-1]  # 1 = near plane, 0 = far plane
        depth = NEAR * FAR / (NEAR + inverse.astype(np.float64) * (FAR - NEAR))
        return rgb, np.where(inverse > 0, depth, np.nan).astype(np.float32)

    def _geoms(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Geom indices from colours that encode indices in the scene's list, plus one."""
        place = codes[..., 0] + np.int32(256) * codes[..., 1] + np.int32(65536) * codes[..., 2]
        geoms = np.full(self._scene.ngeom + 1, -1, np.int32)
        kind = self._mj.mjtObj.mjOBJ_GEOM
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            if drawn.segid >= 0 and drawn.objtype == kind:
                geoms[drawn.segid + 1] = drawn.objid
        return geoms[place]
