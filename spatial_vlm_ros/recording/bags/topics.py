# SPDX-License-Identifier: Apache-2.0
"""Assigns roles to the topics of a bag.

It uses the naming conventions of drivers and does not read messages. Topics given by the user come first; the rest
follows from types and names. If two cameras match, it does not guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.reader import Topic
from spatial_vlm_ros.recording.bags.types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DETECTION_2D_ARRAY,
    DETECTION_ARRAY,
    IMAGE,
    IMU_MESSAGE,
    STRING,
    TF_MESSAGE,
)
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH,
    DEPTH_INFO,
    DETECTIONS,
    IMU,
    RGB,
    RGB_INFO,
    STATIC_TRANSFORMS,
    TRANSFORMS,
)

INSTRUCTION = "instruction"


class _Role(NamedTuple):
    """What the user calls a role, the command-line option for it, and its types of messages."""

    words: str
    option: str
    types: tuple[str, ...]


_ROLES = {
    RGB: _Role("colour", "--rgb", (IMAGE, COMPRESSED_IMAGE)),
    DEPTH: _Role("depth", "--depth", (IMAGE, COMPRESSED_IMAGE)),
    RGB_INFO: _Role("camera info of colour", "--camera-info", (CAMERA_INFO,)),
    DEPTH_INFO: _Role("camera info of depth", "--depth-camera-info", (CAMERA_INFO,)),
    DETECTIONS: _Role("detections", "--detections", (DETECTION_ARRAY, DETECTION_2D_ARRAY)),
    IMU: _Role("the IMU", "--imu", (IMU_MESSAGE,)),
    INSTRUCTION: _Role("instructions", "--instruction-topic", (STRING,)),
}
_COLOUR_WORDS = frozenset({"rgb", "color", "colour"})
_REGISTERED_WORDS = frozenset({"aligned", "registered", "to"})  # aligned_depth_to_color, depth_to_rgb
_NO_IMAGE = frozenset(
    {"ir", "infra", "infra1", "infra2", "infrared", "gray", "grey", "confidence", "disparity", "mask", "annotated",
     "debug", "overlay", "heatmap", "labels", "segmentation"}
)  # fmt: skip
_TRANSPORTS = ("compressed", "compressedDepth")
_MOST_LISTED = 40


def choose_roles(
    topics: Sequence[Topic], config: StreamConfig, given: Mapping[str, str] | None = None, with_detections: bool = True
) -> dict[str, str]:
    """Choose a topic for each role.

    Args:
        given: role → topic, as given by the user; a leading "/" may be missing.
        with_detections: whether detections come from the bag; False = from a grounder.

    Returns:
        Role → topic. RGB, DEPTH, RGB_INFO and, if requested, DEPTH_INFO, DETECTIONS and IMU are always present;
        INSTRUCTION, TRANSFORMS and STATIC_TRANSFORMS only if the bag has them.
    """
    return _TopicChoice(topics, config, given or {}).roles(with_detections)


class _TopicChoice:
    def __init__(self, topics: Sequence[Topic], config: StreamConfig, given: Mapping[str, str]) -> None:
        self._all = sorted(topics, key=lambda topic: topic.name)
        self._topics = [topic for topic in self._all if topic.count]
        self._config = config
        self._given = {}
        for role, name in given.items():
            name = name if name.startswith("/") else f"/{name}"
            fit = [t for t in self._all if t.name == name]
            found = next((t for t in fit if t.type in _ROLES[role].types), None)
            if found is None:
                raise self._refused(role, f"{name} is of type {fit[0].type}" if fit else f"no topic {name}")
            self._given[role] = found

    def roles(self, with_detections: bool) -> dict[str, str]:
        rgb, depth = self._cameras()
        registered = depth if self._config.depth_registered else None
        roles = {RGB: rgb.name, DEPTH: depth.name, RGB_INFO: self._info(RGB_INFO, rgb, registered)}
        if registered is None:
            roles[DEPTH_INFO] = self._info(DEPTH_INFO, depth)
        if with_detections:
            roles[DETECTIONS] = self._detections(rgb)
        if self._config.imu:
            fit = [t for t in self._topics if t.type in _ROLES[IMU].types and not _any_word(t.name, {"gyro"})]
            sensor = self._given.get(IMU) or self._only(fit)
            if sensor is None:
                raise self._refused(IMU, "several: " + ", ".join(t.name for t in fit) if fit else "no matching topic")
            roles[IMU] = sensor.name
        said = self._given.get(INSTRUCTION) or self._only(
            t for t in self._topics if t.type == STRING and _words(t.name)[-1] == {"instruction"}
        )
        if said is not None:
            roles[INSTRUCTION] = said.name
        for role in (TRANSFORMS, STATIC_TRANSFORMS):
            fit = [t for t in self._topics if t.type == TF_MESSAGE and t.name.endswith(role)]
            found = next((t for t in fit if t.name == role), None) or self._only(fit)
            if found is not None:
                roles[role] = found.name
        return roles

    # -------------------------------------------------------------------------------------------- images

    def _cameras(self) -> tuple[Topic, Topic]:
        images = [t for t in self._topics if t.type in _ROLES[RGB].types and not _any_word(t.name, _NO_IMAGE)]
        depths = [t for t in images if _any_word(t.name, {"depth"})]
        others = [t for t in images if t not in depths]
        rgb = self._by_camera(RGB, [t for t in others if _any_word(t.name, _COLOUR_WORDS)] or others)
        # Azure Kinect's /rgb_to_depth is colour, projected to the depth camera.
        depth = self._by_camera(
            DEPTH, [t for t in depths if not any(f"{w}_to_depth" in t.name.lower() for w in _COLOUR_WORDS)]
        )
        for role, found in ((RGB, rgb), (DEPTH, depth)):
            if not found:
                raise self._refused(role, "no matching topic")
        pairs = [(r, d) for r in rgb for d in depth if r == d]
        pairs = pairs or [(r, d) for r in rgb for d in depth if _inside(r, d) or _inside(d, r)]
        named = RGB in self._given or DEPTH in self._given
        if not pairs and named and len(rgb) == len(depth) == 1:
            pairs = [(next(iter(rgb)), next(iter(depth)))]
        if len(pairs) != 1:
            seen = sorted({r for r, _ in pairs} or {*rgb, *depth})
            what = "several cameras" if pairs else "no camera with both colour and depth"
            raise self._refused(RGB, f"{what} ({', '.join(name or '/' for name in seen)})", DEPTH)
        r, d = pairs[0]

        def as_colour(topic: Topic) -> tuple[object, ...]:  # raw, rectified as configured, then the shortest name
            is_rectified = _any_word(topic.name, {"rect"})
            return topic.type != IMAGE, is_rectified != self._config.rectified, len(topic.name), topic.name

        def as_depth(topic: Topic) -> tuple[object, ...]:  # registered as configured, raw, compressedDepth, others
            is_registered = _any_word(topic.name, _REGISTERED_WORDS)
            transport = 0 if topic.type == IMAGE else 1 if topic.name.endswith("/compressedDepth") else 2
            return is_registered != self._config.depth_registered, transport, len(topic.name), topic.name

        return min(rgb[r], key=as_colour), min(depth[d], key=as_depth)

    def _by_camera(self, role: str, topics: Iterable[Topic]) -> dict[str, list[Topic]]:
        if role in self._given:
            topics = [self._given[role]]
        cameras: dict[str, list[Topic]] = {}
        for topic in topics:
            cameras.setdefault(_camera(topic.name), []).append(topic)
        return cameras

    # -------------------------------------------------------------------------------------------- others

    def _info(self, role: str, image: Topic, registered: Topic | None = None) -> str:
        """Camera info beside an image, otherwise of the depth registered to it, otherwise the only one."""
        if role in self._given:
            return self._given[role].name
        infos = [t for t in self._topics if t.type == CAMERA_INFO]
        beside = [
            f"{_base(topic.name).rpartition('/')[0]}/camera_info" for topic in (image, registered) if topic is not None
        ]
        found = next((t for name in beside for t in infos if t.name == name), None)
        if found is None and self._config.depth_registered:  # otherwise the only one may belong to the other camera
            found = self._only(infos)
        if found is None:
            raise self._refused(role, f"no {beside[0]}" + (f", but {len(infos)} of other images" if infos else ""))
        return found.name

    def _detections(self, rgb: Topic) -> str:
        """Detections topic of the camera; never one in the namespace of another camera of the bag."""
        if DETECTIONS in self._given:
            return self._given[DETECTIONS].name
        for type_ in _ROLES[DETECTIONS].types:
            fit = [t for t in self._topics if t.type == type_]
            if len(fit) > 1:
                raise self._refused(DETECTIONS, "several: " + ", ".join(t.name for t in fit))
            if fit:
                name, own = fit[0].name, _camera(rgb.name)
                cameras = {_camera(t.name) for t in self._topics if t.type in _ROLES[RGB].types} - {own, ""}
                other = next((one for one in sorted(cameras) if _inside(name, one) and not _inside(name, own)), "")
                if other:
                    raise self._refused(DETECTIONS, f"{name}, which is of another camera ({other})")
                return name
        extra = ", or pass --grounder NAME for a model that finds them"
        raise self._refused(DETECTIONS, "no topic of detections", extra=extra)

    @staticmethod
    def _only(topics: Iterable[Topic]) -> Topic | None:
        found = list(topics)
        return found[0] if len(found) == 1 else None

    def _refused(self, role: str, got: str, other: str | None = None, extra: str = "") -> InputError:
        listed = [f"{t.name} ({t.type}, {t.count})" for t in self._all[:_MOST_LISTED]]
        more = len(self._all) - len(listed)
        there = ", ".join(listed) + (f" and {more} more" if more else "") or "no topics"
        options = " and ".join(f"{_ROLES[r].option} TOPIC" for r in (role, other) if r is not None)
        extra += " (in `evaluate`: --detections-topic TOPIC)" if role == DETECTIONS else ""
        kinds = " or ".join(_ROLES[role].types)
        repair = f"name it by {options}{extra}; the bag has: {there}"
        return InputError(f"topic of {_ROLES[role].words}", got, f"one of type {kinds}", repair)


# ------------------------------------------------------------------------------------------------ names


def _words(name: str) -> list[set[str]]:
    return [set(part.lower().split("_")) for part in _base(name).split("/")[1:]] or [set()]


def _any_word(name: str, words: Iterable[str]) -> bool:
    return any(part & set(words) for part in _words(name))


def _base(name: str) -> str:
    parent, _, last = name.rpartition("/")
    return parent if last in _TRANSPORTS else name


def _camera(name: str) -> str:
    """The part of a name that all images of one camera share: what comes before "color", "rgb" or "depth"."""
    words = _words(name)
    kinds = {*_COLOUR_WORDS, "depth"}
    at = next((n for n, part in enumerate(words) if part & kinds), len(words) - 1)
    return "/".join(_base(name).split("/")[: at + 1])


def _inside(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")
