# SPDX-License-Identifier: Apache-2.0
"""The scene as arrays in ground coordinates.

Ground coordinates: origin below the camera, g1 along the camera's view on the ground, g2 to its right, heights along
"up" from the support plane (from the camera if no plane was seen). All metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.geometry.support import LEVEL, UNKNOWN_TILT
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.printable import joined, printable
from spatial_vlm_ros.types import FrameOfReference, Scene, Transform, UpSource

# --------------------------------------------------------------------------------------------------
# Frames of reference: the viewpoints of left, right, behind and in front, one function for each frame.

Array = npt.NDArray[np.float64]

_BELOW = 0.05  # metres on the ground within which a place has no direction from the viewer
_REPAIR = "use the camera's or the robot's view"

OWN_SIDED = word_set(
    """chair armchair wheelchair highchair sofa couch settee loveseat bench seat throne pram stroller pushchair saddle
    car truck lorry van bus taxi bicycle bike motorcycle motorbike scooter tractor forklift digger excavator train
    locomotive tram plane aeroplane airplane helicopter boat ship robot drone vehicle person man woman boy girl
    child kid baby human doll figure figurine mannequin statue puppet minifigure animal bird chick chicken hen
    rooster duck duckling goose owl penguin parrot dog puppy cat kitten horse pony unicorn donkey cow bull calf pig
    piglet sheep lamb goat bear teddy rabbit bunny mouse rat hamster elephant lion tiger giraffe zebra fox wolf deer
    monkey gorilla panda frog turtle tortoise lizard crocodile fish shark whale dolphin crab dinosaur dragon hippo
    rhino camel kangaroo koala hedgehog squirrel shoe boot trainer sneaker sandal slipper shirt jacket coat"""
)
"""Last words of labels of objects whose left is their own left hand; all other fronts are seen by a person who faces
them (stove, cabinet, …)."""


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """The viewpoint that defines left, right, behind and in front."""

    frame: FrameOfReference
    origin: Array  # (3,) ground coordinates of the viewer, metres
    forward: Array  # (2,) unit vector, the viewer's forward direction on the ground
    down_deg: float  # downward angle of the view, degrees; 0 for a body on the ground
    parallel: bool = False  # True if ahead is `forward` everywhere, not the ray to each place
    has_ahead: bool = True  # True if it defines behind and in front

    def towards(self, places: Array, straight_down_deg: float) -> Array:
        """(N, 2) unit directions on the ground from the viewer to (N, 2) places.

        A place below the viewer (within 5 cm on the ground) has no direction of its own and gets the viewer's forward
        direction. So does every place if the view is straight down or parallel.
        """
        if self.parallel or self.down_deg > straight_down_deg:
            return np.broadcast_to(self.forward, places.shape).copy()
        offset = places - self.origin[:2]
        distance = np.sqrt((offset * offset).sum(axis=1, keepdims=True))
        return np.where(distance < _BELOW, self.forward, offset / np.maximum(distance, 1e-9))


def clockwise(directions: Array) -> Array:
    """Rotate (N, 2) directions on the ground clockwise by a right angle, seen from above: from ahead to right."""
    return np.stack((-directions[..., 1], directions[..., 0]), axis=-1)


def is_own_sided(label: str) -> bool:
    """True if "its left" is its own left hand (a chair), not that of a person who faces it (a stove)."""
    words = label.lower().replace("_", " ").split()
    return bool(words) and words[-1] in OWN_SIDED


def viewpoint_of(
    frame: FrameOfReference, scene: Scene, axes: Array, floor: float, down_deg: float, relation: RelationConfig
) -> Viewpoint:
    """The viewpoint of a frame of reference; columns g1, g2, up of the axes, the floor in metres below the camera.

    The frame `object` has no position: it views each anchor from the anchor's front (`Layout.rays`).
    """
    foot = np.array([0.0, 0.0, floor])
    if frame is FrameOfReference.VIEWER:
        # Looking straight down, it has an ahead only if one is configured, and right is clockwise of it.
        steep = down_deg > relation.straight_down_deg
        ways = {"up": (1.0, 0.0), "down": (-1.0, 0.0), "left": (0.0, -1.0), "right": (0.0, 1.0)}
        forward = np.array(ways.get(relation.down_ahead, (1.0, 0.0)) if steep else (1.0, 0.0))
        has_ahead = not steep or relation.down_ahead != "none"
        return Viewpoint(frame, foot, forward, down_deg, parallel=steep, has_ahead=has_ahead)
    if frame is FrameOfReference.OBJECT:
        return Viewpoint(frame, foot, np.array([1.0, 0.0]), 0.0)
    if frame is FrameOfReference.SPEAKER:
        camera_T_speaker = scene.frame.camera_T_speaker
        if camera_T_speaker is None:
            repair = "set speaker_frame (TF; on the command line --camera-t-speaker), or " + _REPAIR
            raise FrameUndefinedError(frame.value, "the speaker's position is not known", repair)
        return _body(frame, camera_T_speaker, axes, foot)
    base_T_camera = scene.frame.base_T_camera
    if frame is FrameOfReference.ROBOT:
        if base_T_camera is None:
            repair = "publish base_T_camera (TF; on the command line --base-t-camera), or use the frame 'viewer'"
            raise FrameUndefinedError(frame.value, "the robot's position is not known", repair)
        return _body(frame, base_T_camera.inverse(), axes, foot)
    if not relation.world_defined:
        repair = "set relation.world_defined and world_azimuth_deg, or " + _REPAIR
        raise FrameUndefinedError(frame.value, "no world azimuth is configured", repair)
    if base_T_camera is None:
        repair = "publish base_T_camera (TF; on the command line --base-t-camera), or use the frame 'viewer'"
        raise FrameUndefinedError(frame.value, "the base frame that its azimuth refers to is not known", repair)
    azimuth = np.radians(relation.world_azimuth_deg)
    ahead = base_T_camera.rotation.T @ np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    origin = base_T_camera.inverse().translation @ axes + foot
    return Viewpoint(FrameOfReference.WORLD, origin, _laid_down(ahead, axes), 0.0, parallel=True)


def _body(frame: FrameOfReference, camera_T_body: Transform, axes: Array, foot: Array) -> Viewpoint:
    """An upright person or robot looking along the x axis of a body frame."""
    origin = camera_T_body.translation @ axes + foot
    return Viewpoint(frame, origin, _laid_down(camera_T_body.rotation[:, 0], axes), 0.0)


def _laid_down(direction: Array, axes: Array) -> Array:
    """(2,) unit direction on the ground; the camera's forward for a vertical one."""
    flat = np.asarray((direction @ axes)[:2], np.float64)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-6 else np.array([1.0, 0.0])


_UPRIGHT_FRONT = 0.17  # horizontal part of a front's direction below which it faces up or down: ten degrees
_CORNERLESS_FILL = 0.86  # a disc or an oval fills 0.785 of its box, a rectangle all of it
_NO_EDGE = 1e-9  # metres between corners that are the same corner
_ANYWHERE = 1e9  # metres: the distance from a missing edge


@dataclass(frozen=True, eq=False)
class Layout:
    """A scene's objects as arrays; rows in the order of `scene.objects`. Unmeasured ones hold NaN.

    An argument `row` is the row of an object in it; what measures the object needs a measured one.
    """

    scene: Scene
    axes: Array  # (3, 3) columns g1, g2, up, camera frame
    floor: float  # height of the support plane below the camera, along up, metres (0 without a plane)
    centre: Array  # (N, 3) estimated volume centres, metres
    surface: Array  # (N, 3) centres of the visible surfaces, metres
    footprint: Array  # (N, 16, 2) outlines on the ground, convex, corners in order, metres
    bottom: Array  # (N,) heights of the bottoms, metres
    top: Array  # (N,) heights of the tops, metres
    sigma: Array  # (N,) standard deviation of an object's position, from depth noise and from the covered part, metres
    sigma_up: Array  # (N,) the same for its heights
    noise: Array  # (N,) the part of both that comes from depth noise
    tilt: float  # standard deviation of "up", radians
    down_deg: float  # downward angle of the camera, degrees
    relation: RelationConfig
    depth: DepthConfig

    def __len__(self) -> int:
        return len(self.centre)

    @cached_property
    def measured(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: True if an object has a trusted position."""
        return np.isfinite(self.centre[:, 0])

    @cached_property
    def visible_mean(self) -> Array:
        """(N, 3) means of the visible surfaces, metres."""
        nothing = np.full(3, np.nan)
        means = [o.points.mean(axis=0, dtype=np.float64) if len(o.points) else nothing for o in self.scene.objects]
        return np.array(means).reshape(-1, 3) @ self.axes + np.array([0.0, 0.0, self.floor])

    @cached_property
    def bearing_places(self) -> Array:
        """(N, 2) points on the ground on the rays from the camera through the middles of the boxes, metres.

        Only their bearing from the camera has a meaning. It is the bearing in the image, whichever part of an object
        has depth.
        """
        K = self.scene.frame.camera.K
        boxes = np.array([o.detection.box_xyxy for o in self.scene.objects]).reshape(-1, 4)
        u, v = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        rays = np.column_stack(((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(len(u))))
        return (rays @ self.axes)[:, :2]

    @cached_property
    def sigma_floor(self) -> Array:
        """(N,) standard deviation of the support plane's height beneath each object, metres."""
        height = 0.0 if self.scene.support is None else self.scene.support.sigma
        return np.hypot(height, self.tilt * np.linalg.norm(self.centre[:, :2] - self.middle, axis=1))

    # -------------------------------------------------------------------------------------------- sizes

    @cached_property
    def size(self) -> Array:
        """(N, 3) box sizes: longer and shorter horizontal side, height, metres."""
        return np.array([o.box.size for o in self.scene.objects]).reshape(-1, 3)

    @cached_property
    def mean_side(self) -> Array:
        """(N,) mean horizontal size, metres."""
        return (self.size[:, 0] + self.size[:, 1]) / 2

    @cached_property
    def reach(self) -> Array:
        """(N,) size of an object for gaps, metres: its mean horizontal size, at least `min_reach`."""
        return np.maximum(self.mean_side, self.relation.min_reach)

    # -------------------------------------------------------------------------------------------- outlines

    @cached_property
    def outline(self) -> Array:
        """(N, 16, 2) corners of the outlines relative to the objects' centres, metres."""
        return self.footprint - self.centre[:, None, :2]

    @cached_property
    def corners(self) -> Array:
        """(2, 16, N) corners of the outlines, along g1 and along g2, metres."""
        return np.ascontiguousarray(self.footprint.transpose(2, 1, 0))

    @cached_property
    def radius(self) -> Array:
        """(N,) radius of the circle around an object's centre that contains its outline, metres."""
        return np.asarray(np.sqrt((self.outline**2).sum(axis=2).max(axis=1, initial=0.0)))

    @cached_property
    def edges(self) -> Array:
        """(16, N, 3) edges of the outlines: the product with (x, y, 1) is the depth of a place inside an edge."""
        edge = np.roll(self.outline, -1, axis=1) - self.outline
        length = np.linalg.norm(edge, axis=2)
        inward = np.where(self._doubled_area >= 0, 1.0, -1.0)[:, None, None] * clockwise(edge)
        inward /= np.maximum(length, _NO_EDGE)[..., None]
        offset = -(self.footprint * inward).sum(axis=2)
        none = length <= _NO_EDGE
        inward[none], offset[none] = 0.0, _ANYWHERE
        return np.ascontiguousarray(np.concatenate((inward, offset[..., None]), axis=2).transpose(1, 0, 2))

    @cached_property
    def reaches(self) -> Array:
        """(16, N, 3) corners of the outlines: the product with (x, y, 1) is how far each extends towards a place.

        In metres times the distance of that place from the centre.
        """
        offset = -(self.outline * self.centre[:, None, :2]).sum(axis=2, keepdims=True)
        return np.ascontiguousarray(np.concatenate((self.outline, offset), axis=2).transpose(1, 0, 2))

    @cached_property
    def _doubled_area(self) -> Array:
        """(N,) twice the signed areas of the outlines; positive if corners go from g1 to g2."""
        following = np.roll(self.outline, -1, axis=1)
        return np.asarray((self.outline[..., 0] * following[..., 1] - self.outline[..., 1] * following[..., 0]).sum(1))

    @cached_property
    def cornerless(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: True if an outline is round or oval."""
        return np.abs(self._doubled_area) / 2 < _CORNERLESS_FILL * self.size[:, 0] * self.size[:, 1]

    @cached_property
    def long_side(self) -> Array:
        """(N, 2) unit directions of the boxes' longer horizontal sides on the ground."""
        along = np.array([o.box.axes[:, 0] for o in self.scene.objects]).reshape(-1, 3) @ self.axes[:, :2]
        return np.asarray(along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9))

    @cached_property
    def middle(self) -> Array:
        """(2,) middle of the smallest axis-aligned rectangle around all outlines; NaN if nothing is measured."""
        corners = self.footprint[self.measured].reshape(-1, 2)
        if not len(corners):
            return np.full(2, np.nan)
        about = corners.mean(axis=0)
        rows = cv2.convexHull((corners - about).astype(np.float32), returnPoints=False)
        hull = corners[np.asarray(rows).reshape(-1)]
        sides = np.roll(hull, -1, axis=0) - hull
        length = np.linalg.norm(sides, axis=1)
        along = np.where(length[:, None] > _NO_EDGE, sides / np.maximum(length, _NO_EDGE)[:, None], (1.0, 0.0))
        across = clockwise(along)
        low = np.stack(((hull @ along.T).min(axis=0), (hull @ across.T).min(axis=0)))
        high = np.stack(((hull @ along.T).max(axis=0), (hull @ across.T).max(axis=0)))
        best = int(np.argmin((high - low).prod(axis=0)))
        middle = (low + high)[:, best] / 2
        return np.asarray(middle[0] * along[best] + middle[1] * across[best])

    # -------------------------------------------------------------------------------------------- fronts, frames

    @cached_property
    def front(self) -> Array:
        """(N, 2) unit directions on the ground that the objects' fronts face; NaN if unknown."""
        given = [(np.nan,) * 3 if o.detection.front is None else o.detection.front for o in self.scene.objects]
        flat = np.array(given, np.float64).reshape(-1, 3) @ self.axes[:, :2]
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        return np.asarray(np.where(length > _UPRIGHT_FRONT, flat / np.maximum(length, 1e-9), np.nan))

    def require_up(self, words: str) -> None:
        """Raise FrameUndefinedError if nothing tells which way is up; `words` need it, and the image does not."""
        if self.scene.up_from is UpSource.OPTICAL_AXES:
            reason = f"'{words}' needs to know which way is up, and neither TF, an IMU nor a surface tells"
            repair = "publish base_T_camera (on the command line --base-t-camera), or show what the objects stand on"
            raise FrameUndefinedError("gravity", reason, repair)

    def viewpoint(self, frame: FrameOfReference) -> Viewpoint:
        """The viewpoint of a frame of reference."""
        return viewpoint_of(frame, self.scene, self.axes, self.floor, self.down_deg, self.relation)

    def points_of(self, row: int, most: int = 40_000) -> Array:
        """(N, 3) visible points of an object in ground coordinates, metres; evenly thinned out if there are more."""
        points = self.scene.objects[row].points
        some = points[:: max(1, len(points) // most)].astype(np.float64)
        return np.asarray(some @ self.axes + (0.0, 0.0, self.floor))

    def rays(self, view: Viewpoint, rows: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        """(R, 2) unit directions ahead of, and to the right of, each row as an anchor.

        In the frame `object`, a row without a front gives NaN.
        """
        if view.frame is not FrameOfReference.OBJECT:
            ahead = view.towards(self.centre[rows, :2], self.relation.straight_down_deg)
            return ahead, clockwise(ahead)
        ahead = -self.front[rows]
        if len(rows) and not np.isfinite(ahead).any():
            names = list(dict.fromkeys(self.scene.objects[int(row)].detection.label for row in rows))
            named = f"the {names[0]}" if len(names) == 1 else "any of " + ", ".join(names[:3])
            repair = "set the detection's front, or use the camera's or the robot's view"
            raise FrameUndefinedError(view.frame.value, f"the front of {named} is not known", repair)
        # The right of those that are own-sided is their own right hand: opposite to that of a person who faces them.
        own = [is_own_sided(self.scene.objects[row].detection.label) for row in rows.tolist()]
        return ahead, np.where(own, -1.0, 1.0)[:, None] * clockwise(ahead)


def lay_out(scene: Scene, depth: DepthConfig, relation: RelationConfig) -> Layout:
    """Put a scene's objects into arrays on the ground."""
    up = scene.up
    # The camera's forward on the ground; if it looks straight down, the image's own up (minus y) on the table.
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
    # It is unknown how far a covered or cut-off object continues.
    cut = np.array([(o.cut, o.cut_above) for o in objects]).reshape(n, 2)
    noise = depth.noise_floor + depth.noise_quadratic * boxes[:, 2] ** 2
    sigma, sigma_up = np.hypot(noise, cut.T / math.sqrt(12.0))  # half of it in either direction, as uniform
    tilt = LEVEL
    if scene.up_from is UpSource.OPTICAL_AXES:
        tilt = UNKNOWN_TILT
    elif scene.up_from is UpSource.SUPPORT_PLANE and scene.support is not None:
        tilt = scene.support.sigma_tilt
    return Layout(
        scene, axes, floor, centre, surface, footprint,
        centre[:, 2] - height / 2, centre[:, 2] + height / 2, sigma, sigma_up, noise, tilt, down_deg, relation,
        depth,
    )  # fmt: skip


def names_of(layout: Layout, rows: tuple[int, ...]) -> str:
    """Names of several objects: "the cup (d1) and the box (d2)"."""
    return joined([name_of(layout, row) for row in rows])


def name_of(layout: Layout, row: int) -> str:
    """Label and id, for people: "the soup can (d1)"."""
    obj = layout.scene.objects[row]
    return printable(f"the {obj.detection.label} ({obj.id})")
