# SPDX-License-Identifier: Apache-2.0
"""A tabletop whose objects have settled under gravity, and renderings of it from any camera pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.sim.compilation import TIME_STEP, PlacedModel, compile_model
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.mujoco_runtime import load_mujoco
from spatial_vlm_ros.sim.renderer import SceneRenderer
from spatial_vlm_ros.sim.scenery import Scenery
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.sim.truth import TrueObject, outline_of, tight_box
from spatial_vlm_ros.types import Mask, PinholeCamera, Transform

STILL_SPEED, STILL_TURN = 0.003, 0.06
"""An object slower than this (m/s, rad/s) is at rest."""
_STILL_STEPS, _LONGEST = 40, 3.0  # steps at rest in a row that end settling; seconds after which it ends in any case


@dataclass(frozen=True, eq=False)
class PhysicsRendering(Rendering):
    """A rendering with a mask of shiny surfaces.

    Args:
        shiny: (H, W) bool mask of metal and glass, for `sensor.noisy`.
    """

    shiny: Mask


class PhysicsWorld:
    """Settled objects on a table. Close its drawing context with `close()` or use it as a context manager.

    The base frame has z up; MuJoCo's world frame is the base frame.

    Args:
        objects: objects at their start poses, in the order of their detections.
        base_T_camera: the camera pose that the world was laid out for; `render` uses it by default.
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
            body, matrix = self._model.body(id_).id, np.eye(4)
            matrix[:3, :3] = self._data.xmat[body].reshape(3, 3)
            matrix[:3, 3] = self._data.xpos[body]
            pose = Transform(base_T_camera.parent, id_, matrix)
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

    def __enter__(self) -> PhysicsWorld:
        return self

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

        Args:
            camera: rectified camera.
            base_T_camera: camera pose in the base frame; None = the pose that the world was laid out for.
            stamp_ns: stamp of the frame, nanoseconds.

        Returns:
            The frame with exact depth (NaN beyond the scenery's range), and the truth about it.

        Raises:
            InputError: the camera has distortion, or the caller is not the thread that rendered first.
            ModelError: no drawing context is available.
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
