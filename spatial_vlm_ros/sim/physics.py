# SPDX-License-Identifier: Apache-2.0
"""A tabletop whose objects have settled under gravity, and renderings of a MuJoCo model from any pinhole camera."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.sim import compilation
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.scenery import Scenery
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.sim.truth import TrueObject, outline_of, tight_box
from spatial_vlm_ros.types import Depth, Detection, Mask, PinholeCamera, Rgb, RgbdFrame, Transform

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

    def __init__(self, objects: Sequence[compilation.PlacedModel], scenery: Scenery, base_T_camera: Transform) -> None:
        self.scenery, self.base_T_camera = scenery, base_T_camera
        self.objects = {obj.id: obj for obj in objects}
        self._mj = compilation.load_mujoco()
        self._model = compilation.compile_model(objects, scenery)
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
        for _ in range(int(_LONGEST / compilation.TIME_STEP)):
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

    def __init__(
        self, model: Any, data: Any, objects: Mapping[str, compilation.PlacedModel] = MappingProxyType({})
    ) -> None:
        self._objects, shown = objects, model.geom_group == compilation.SEEN
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
        self._mj = mj = compilation.load_mujoco()
        self._model, self._data, self._thread = model, data, threading.get_ident()
        self._size = (0, 0)
        self._gl: Any = compilation.drawing_context()
        try:
            self._context: Any = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # drivers fail in different ways
            raise compilation.no_drawing(error) from error
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mj.mjtDepthMap.mjDEPTH_ZEROFAR  # finest for near depths
        self._scene = mj.MjvScene(model, maxgeom=_MOST_GEOMS)
        self._option, self._free = mj.MjvOption(), mj.MjvCamera()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[compilation.SEEN] = 1

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
        self._model.geom_group[[geom for id_ in ids for geom in self._seen[id_]]] = compilation.SEEN
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
