# SPDX-License-Identifier: Apache-2.0
"""Frames of reference: the viewpoints of left, right, behind and in front, one function for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.parameters import RelationConfig
from spatial_vlm_ros.types import FrameOfReference, Scene, Transform

Array = npt.NDArray[np.float64]

_BELOW = 0.05  # metres on the ground within which a place has no direction from the viewer
_REPAIR = "use the camera's or the robot's view"

OWN_SIDED = frozenset(
    (
        *("chair", "armchair", "wheelchair", "highchair", "sofa", "couch", "settee", "loveseat", "bench", "seat"),
        *("throne", "pram", "stroller", "pushchair", "saddle"),
        *("car", "truck", "lorry", "van", "bus", "taxi", "bicycle", "bike", "motorcycle", "motorbike", "scooter"),
        *("tractor", "forklift", "digger", "excavator", "train", "locomotive", "tram", "plane", "aeroplane"),
        *("airplane", "helicopter", "boat", "ship", "robot", "drone", "vehicle"),
        *("person", "man", "woman", "boy", "girl", "child", "kid", "baby", "human", "doll", "figure", "figurine"),
        *("mannequin", "statue", "puppet", "minifigure"),
        *("animal", "bird", "chick", "chicken", "hen", "rooster", "duck", "duckling", "goose", "owl", "penguin"),
        *("parrot", "dog", "puppy", "cat", "kitten", "horse", "pony", "unicorn", "donkey", "cow", "bull", "calf"),
        *("pig", "piglet", "sheep", "lamb", "goat", "bear", "teddy", "rabbit", "bunny", "mouse", "rat", "hamster"),
        *("elephant", "lion", "tiger", "giraffe", "zebra", "fox", "wolf", "deer", "monkey", "gorilla", "panda"),
        *("frog", "turtle", "tortoise", "lizard", "crocodile", "fish", "shark", "whale", "dolphin", "crab"),
        *("dinosaur", "dragon", "hippo", "rhino", "camel", "kangaroo", "koala", "hedgehog", "squirrel"),
        *("shoe", "boot", "trainer", "sneaker", "sandal", "slipper", "shirt", "jacket", "coat"),
    )
)
"""Last words of labels of objects whose left is their own left hand; all other fronts are seen by a person who faces
them (stove, cabinet, …)."""


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """The viewpoint that defines left, right, behind and in front.

    Args:
        origin: (3,) ground coordinates of the viewer, metres.
        forward: (2,) unit vector, the viewer's forward direction on the ground.
        down_deg: downward angle of the view, degrees; 0 for a body on the ground.
        parallel: True if ahead is `forward` everywhere, not the ray to each place.
        has_ahead: True if it defines behind and in front.
    """

    frame: FrameOfReference
    origin: Array
    forward: Array
    down_deg: float
    parallel: bool = False
    has_ahead: bool = True

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
    """The viewpoint of a frame of reference.

    The frame `object` has no position: it views each anchor from the anchor's front (`Layout.rays`).

    Args:
        axes: (3, 3) columns g1, g2, up, camera frame.
        floor: height of the camera above the ground, metres.
        down_deg: downward angle of the camera, degrees.
    """
    foot = np.array([0.0, 0.0, floor])
    if frame is FrameOfReference.VIEWER:
        return _camera(foot, down_deg, relation)
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


def _camera(foot: Array, down_deg: float, relation: RelationConfig) -> Viewpoint:
    """The camera. Looking straight down, it has an ahead only if one is configured, and right is clockwise of it."""
    steep = down_deg > relation.straight_down_deg
    forward = (1.0, 0.0)
    if steep and relation.down_ahead != "none":
        forward = {"up": (1.0, 0.0), "down": (-1.0, 0.0), "left": (0.0, -1.0), "right": (0.0, 1.0)}[relation.down_ahead]
    return Viewpoint(
        FrameOfReference.VIEWER, foot, np.array(forward), down_deg, parallel=steep,
        has_ahead=not steep or relation.down_ahead != "none",
    )  # fmt: skip


def _body(frame: FrameOfReference, camera_T_body: Transform, axes: Array, foot: Array) -> Viewpoint:
    """An upright person or robot looking along the x axis of a body frame."""
    origin = camera_T_body.translation @ axes + foot
    return Viewpoint(frame, origin, _laid_down(camera_T_body.rotation[:, 0], axes), 0.0)


def _laid_down(direction: Array, axes: Array) -> Array:
    """(2,) unit direction on the ground; the camera's forward for a vertical one."""
    flat = np.asarray((direction @ axes)[:2], np.float64)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 1e-6 else np.array([1.0, 0.0])
