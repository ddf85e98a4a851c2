# SPDX-License-Identifier: Apache-2.0
"""Compile objects and scenery into a MuJoCo model, and the only access to MuJoCo, which is imported on first use.

Geoms of group 0 are only visible, those of group 3 only collide.
"""

from __future__ import annotations

import ctypes.util
import importlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.sim.meshes import Colour, Model, PaintedSurface
from spatial_vlm_ros.sim.scenery import Pattern, Scenery
from spatial_vlm_ros.sim.tabletop import as_bytes
from spatial_vlm_ros.sim.truth import Placed
from spatial_vlm_ros.types import Vector3

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
