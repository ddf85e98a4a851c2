# SPDX-License-Identifier: Apache-2.0
"""The scene as arrays on the ground, and the viewpoints that relations are seen from.

Ground coordinates: origin below the camera, g1 along the camera's view on the ground, g2 to its right, heights along
"up" from the support plane (from the camera when no plane was seen). All metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, RelationConfig
from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.types import FrameOfReference, Scene

Array = npt.NDArray[np.float64]


_BELOW = 0.05  # metres on the ground within which a place has no direction from the viewer


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """Where left, right, behind and in front are seen from.

    Args:
        frame: its name.
        origin: (3,) ground coordinates of the viewer.
        forward: (2,) unit, the viewer's own forward on the ground.
        down_deg: how steeply it looks down, degrees; 0 for a body on the ground.
    """

    frame: FrameOfReference
    origin: Array
    forward: Array
    down_deg: float

    def towards(self, places: Array, straight_down_deg: float) -> Array:
        """Unit directions on the ground from the viewer to (N, 2) places, (N, 2).

        A place below the viewer (within 5 cm on the ground) has no direction of its own and takes the viewer's
        forward; so does every place of a view that looks straight down.
        """
        offset = places - self.origin[:2]
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        if self.down_deg > straight_down_deg:
            return np.broadcast_to(self.forward, places.shape).copy()
        return np.where(distance < _BELOW, self.forward, offset / np.maximum(distance, 1e-9))


@dataclass(frozen=True, eq=False)
class Layout:
    """A scene's objects as arrays; rows in the order of `scene.objects`. Unmeasured ones hold NaN.

    Args:
        scene: where it came from.
        axes: (3, 3) columns g1, g2, up, camera frame.
        floor: height of the support plane below the camera, along up, metres (0 without a plane).
        centre: (N, 3) estimated volume centres.
        surface: (N, 3) centres of the visible surfaces.
        footprint: (N, 16, 2) outlines on the ground.
        bottom: (N,) heights.
        top: (N,) heights.
        sigma: (N,) standard deviation of an object's place from depth noise.
        down_deg: how steeply the camera looks down.
    """

    scene: Scene
    axes: Array
    floor: float
    centre: Array
    surface: Array
    footprint: Array
    bottom: Array
    top: Array
    sigma: Array
    down_deg: float
    relation: RelationConfig

    def __len__(self) -> int:
        return len(self.centre)

    @cached_property
    def measured(self) -> npt.NDArray[np.bool_]:
        """(N,) whether an object has a trusted place."""
        return np.isfinite(self.centre[:, 0])

    @cached_property
    def visible_mean(self) -> Array:
        """(N, 3) means of the visible surfaces."""
        nothing = np.full(3, np.nan)
        means = [o.points.mean(axis=0, dtype=np.float64) if len(o.points) else nothing for o in self.scene.objects]
        return np.array(means).reshape(-1, 3) @ self.axes + np.array([0.0, 0.0, self.floor])

    @cached_property
    def reach(self) -> Array:
        """(N,) size of an object for gaps: its mean horizontal size, at least `min_reach`."""
        return np.maximum(self.size[:, :2].mean(axis=1), self.relation.min_reach)

    @cached_property
    def size(self) -> Array:
        """(N, 3) box sizes: longer and shorter horizontal side, height."""
        return np.array([o.box.size for o in self.scene.objects]).reshape(-1, 3)

    @cached_property
    def bearing_places(self) -> Array:
        """(N, 2) points on the ground on the rays from the camera through the middles of the boxes.

        Only their bearing from the camera means something. It is that of the picture, whatever part of an object has
        depth.
        """
        K = self.scene.frame.camera.K
        boxes = np.array([o.detection.box_xyxy for o in self.scene.objects]).reshape(-1, 4)
        u, v = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        rays = np.column_stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(len(u))))
        return (rays @ self.axes)[:, :2]

    def viewpoint(self, frame: FrameOfReference) -> Viewpoint:
        """The viewpoint of a frame of reference.

        Raises:
            FrameUndefinedError: the scene does not tell where that viewer is.
        """
        if frame is FrameOfReference.VIEWER:
            return Viewpoint(frame, np.array([0.0, 0.0, self.floor]), np.array([1.0, 0.0]), self.down_deg)
        if frame is FrameOfReference.ROBOT:
            base_T_camera = self.scene.frame.base_T_camera
            if base_T_camera is None:
                raise FrameUndefinedError(
                    frame.value, "the robot's place is not known", "give base_T_camera (TF), or use the frame 'viewer'"
                )
            camera_T_base = base_T_camera.inverse()
            origin = camera_T_base.translation @ self.axes + (0.0, 0.0, self.floor)
            forward = (camera_T_base.rotation[:, 0] @ self.axes)[:2]
            return Viewpoint(frame, origin, forward / np.linalg.norm(forward), 0.0)
        reason = {
            FrameOfReference.SPEAKER: "the speaker's place is not configured",
            FrameOfReference.WORLD: "no world azimuth is configured",
            FrameOfReference.OBJECT: "no object here has a known front",
        }[frame]
        raise FrameUndefinedError(frame.value, reason, "say it from the camera's or the robot's view")


def lay_out(scene: Scene, depth: DepthConfig, relation: RelationConfig) -> Layout:
    """Put a scene's objects into arrays on the ground."""
    up = scene.up
    # The camera's forward on the ground; looking straight down, the image's own up (minus y) laid on the table.
    forward = np.array([0.0, 0.0, 1.0])
    down_deg = float(np.degrees(np.arcsin(np.clip(-forward @ up, -1, 1))))
    if abs(down_deg) > relation.straight_down_deg:
        right = np.array([1.0, 0.0, 0.0])
        g2 = right - (right @ up) * up
        g2 /= np.linalg.norm(g2)
        g1 = np.cross(up, g2)
    else:
        g1 = forward - (forward @ up) * up
        g1 /= np.linalg.norm(g1)
        g2 = np.cross(g1, up)
    axes = np.stack((g1, g2, up), axis=1)
    floor = 0.0
    if scene.support is not None:
        floor = scene.support.offset / max(float(scene.support.normal @ up), 0.5)
    lift = np.array([0.0, 0.0, floor])
    objects = scene.objects
    n = len(objects)
    boxes = np.array([o.box.centre for o in objects]).reshape(n, 3)
    height = np.array([o.box.size[2] for o in objects]).reshape(n)
    centre = boxes @ axes + lift
    surface = np.array([o.surface_centre for o in objects]).reshape(n, 3) @ axes + lift
    footprint = (np.array([o.footprint for o in objects]).reshape(n, FOOTPRINT_CORNERS, 3) @ axes)[..., :2]
    sigma = depth.noise_floor + depth.noise_quadratic * boxes[:, 2] ** 2
    return Layout(
        scene, axes, floor, centre, surface, footprint,
        centre[:, 2] - height / 2, centre[:, 2] + height / 2, sigma, down_deg, relation,
    )  # fmt: skip
