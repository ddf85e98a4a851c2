# SPDX-License-Identifier: Apache-2.0
"""Truth proposed from an answer, in the form of `expect` of a case (docs/evaluation.md), and the scene from above.

A proposal is what the program says, and as biased: docs/label.md says what follows from that.

In the drawing from above a person points: outlines and heights are in base, metres. If the camera's pose in base is not
known, the axes are the camera's: x right, y ahead, z against gravity. Places cannot be written then, because their
region is in base.

In the line that a decision makes, fields of the old line stay. Those that describe the object that was right before
(`mask`, `box_3d`, …) would be wrong beside another object: they move to its field "replaced", which nothing reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.recording.cases import CaseLine
from spatial_vlm_ros.types import ANSWERS, Detection, Pose, Resolution, Scene, Status, Transform

_Floats = npt.NDArray[np.float64]
OWN_FIELDS = ("status", "id", "id_also", "label", "box", "place", "answer")
"""Fields of `expect` that the page writes; others are left as they are."""
OWN_PARTS = {
    "place": ("relation", "anchor_id", "region_center", "region_half"),
    "answer": ("value", "tolerance", "ids"),
}
"""... and those within a place and an answer."""
_SPOT = 0.06  # metres: half a side of a spot, as in the frames of docs/evaluation.md
_AROUND = 0.15  # metres around an anchor that "next to" reaches
_WHOLE = frozenset({"on", "inside", "in"})  # relations of which the region is all of the anchor


@dataclass(frozen=True, eq=False)
class GroundObject:
    """One object from above: (K, 2) corners of its outline, and heights of bottom and top, metres."""

    outline: _Floats
    bottom: float
    top: float


@dataclass(frozen=True, eq=False)
class Ground:
    """All objects of a scene from above; metres."""

    objects: Mapping[str, GroundObject]  # by the ids of their detections
    camera: _Floats  # (2,) position
    ahead: _Floats  # (2,) unit viewing direction
    frame_id: str | None  # None for the camera's own axes
    pose: _Floats  # (4, 4) transform from the camera's frame
    camera_frame: str

    def in_base(self, pose: Pose) -> _Floats | None:
        """Position of a pose in base, (3,) metres; None if not known or in another frame."""
        point = np.asarray(pose.position, np.float64)
        if self.frame_id is None or pose.frame_id not in (self.frame_id, self.camera_frame):
            return None
        return point if pose.frame_id == self.frame_id else self.pose[:3, :3] @ point + self.pose[:3, 3]

    def json(self) -> dict[str, Any]:
        """JSON for the page."""
        objects = [
            {"id": id_, "outline": np.round(one.outline, 4).tolist(), "bottom": one.bottom, "top": one.top}
            for id_, one in self.objects.items()
        ]
        return {
            "frame_id": self.frame_id,
            "camera": np.round(self.camera, 4).tolist(),
            "ahead": np.round(self.ahead, 4).tolist(),
            "objects": objects,
        }


def ground_of(scene: Scene, base_T_camera: Transform | None) -> Ground:
    """A scene, which is in the camera frame, from above; the parent of the camera's pose has z up."""
    if base_T_camera is not None:
        pose = np.asarray(base_T_camera.matrix, np.float64)
    else:  # axes of the camera made level: x right, y ahead, z up, its origin the camera's
        up = np.asarray(scene.up, np.float64)
        forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
        if np.linalg.norm(forward) < 1e-6:  # it looks straight down: ahead is up in the image
            forward = np.array([0.0, -1.0, 0.0]) + up[1] * up
        forward /= np.linalg.norm(forward)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(forward, up), forward, up])
    objects = {}
    for one in scene.objects:
        if one.depth_problem is None and len(one.footprint):
            outline = one.footprint @ pose[:3, :3].T + pose[:3, 3]
            middle = float(pose[2, :3] @ one.box.centre + pose[2, 3])
            half = float(one.box.size[2]) / 2
            objects[one.id] = GroundObject(outline[:, :2], round(middle - half, 4), round(middle + half, 4))
    ahead = pose[:2, 2] if np.hypot(*pose[:2, 2]) > 1e-6 else -pose[:2, 1]
    frame_id = None if base_T_camera is None else base_T_camera.parent
    return Ground(objects, pose[:2, 3], ahead / np.hypot(*ahead), frame_id, pose, scene.frame.frame_id)


# ------------------------------------------------------------------------------------------------ proposals


def proposed(
    resolution: Resolution, detections: Sequence[Detection], ground: Ground | None, *, by_id: bool
) -> dict[str, Any]:
    """Propose the truth under the assumption that the answer is right; no place without a pose of the camera."""
    truth: dict[str, Any] = {"status": resolution.status.value}
    if resolution.status is Status.OK and resolution.target is not None:
        id_ = resolution.target.id
        found = None if by_id else next((one for one in detections if one.id == id_), None)
        truth |= {"id": id_} if found is None else {"label": found.label, "box": rounded_box(found.box_xyxy)}
        also = [target.id for target in resolution.targets[1:]]
        if also and by_id:
            truth["id_also"] = also
        place, destination = resolution.place, None if resolution.query is None else resolution.query.destination
        middle = None if place is None or ground is None else ground.in_base(place.pose)
        if place is not None and ground is not None and middle is not None and destination is not None:
            relation, half = destination.relation, np.array([_SPOT, _SPOT, 0.0])
            anchor = ground.objects.get(place.anchor_id)
            if anchor is not None and relation in (*_WHOLE, "next to"):
                around = 0.0 if relation in _WHOLE else _AROUND
                low, high = anchor.outline.min(axis=0) - around, anchor.outline.max(axis=0) + around
                middle, half = np.array([*(low + high) / 2, middle[2]]), np.array([*(high - low) / 2, 0.0])
            region = {"region_center": np.round(middle, 4).tolist(), "region_half": np.round(half, 4).tolist()}
            truth["place"] = {"relation": relation, "anchor_id": place.anchor_id, **region}
    answer = resolution.answer
    if answer is not None:
        told: dict[str, Any] = {}
        if answer.value is not None:
            told["value"] = round(answer.value, 3) if isinstance(answer.value, float) else answer.value
        if answer.unit == "m" and answer.interval is not None:
            told["tolerance"] = round((answer.interval[1] - answer.interval[0]) / 2, 3)
        ids = [one.id for one in answer.objects if one.role in ("subject", "fits")]
        if ids and by_id:
            told["ids"] = ids
        truth["answer"] = told
    return truth


def rounded_box(box: Sequence[float]) -> list[float]:
    """A box to a tenth of a pixel."""
    return [round(float(value), 1) for value in box]


def same_truth(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two expectations say the same in the fields that the page writes; an empty field says nothing."""
    return _said(one) == _said(other)


def _said(truth: Mapping[str, Any]) -> dict[str, Any]:
    said = {}
    for name in OWN_FIELDS:
        value = truth.get(name)
        if name in OWN_PARTS and isinstance(value, Mapping):
            value = {part: value[part] for part in OWN_PARTS[name] if value.get(part) not in (None, [])}
        if value not in (None, [], {}):
            said[name] = value
    return said


# ------------------------------------------------------------------------------------------------ lines of cases


Maker = Literal["accepted", "corrected", "written"]
"""How the truth of a case was made: what the program answered, accepted; that, corrected; or without having seen it."""

_OF_OBJECT = ("mask", "box_3d", "tolerance_m")
_TELLS_OBJECT = ("id", "label", "box")
_CHANGE = "change it on the page"
_LARGEST = 10 * 1024 * 1024  # bytes of a file of sentences
_SHOWN = 60  # characters


def case_line(
    old: Mapping[str, Any], naming: Mapping[str, Any], words: str, kind: Sequence[str] | None,
    expect: Mapping[str, Any], by: Maker,
) -> dict[str, Any]:  # fmt: skip
    """The new line of a case; `old` is empty if there is none, and a `kind` of None stays as it is there."""
    line = dict(old) if old else {**naming, "instruction": words}
    before = old.get("expect")
    before = before if isinstance(before, Mapping) else {}
    kept = {name: value for name, value in before.items() if name not in OWN_FIELDS}  # fields of others
    replaced: dict[str, Any] = {}
    is_refusal = Status[expect["status"]] not in ANSWERS
    if is_refusal or any(before.get(name) != expect.get(name) for name in _TELLS_OBJECT):
        replaced = {name: kept.pop(name) for name in _OF_OBJECT if name in kept}
    merged = dict(expect)
    for name, own in OWN_PARTS.items():
        value = before.get(name)
        if not isinstance(value, Mapping) or not value.keys() - set(own):
            continue
        of_others = {key: value[key] for key in value if key not in own}
        now = expect.get(name)  # what others wrote holds with the same relation and anchor; answers have none
        if now is not None and all(value.get(field) == now.get(field) for field in ("relation", "anchor_id")):
            merged[name] = {**now, **of_others}
        else:
            replaced[name] = value

    line["expect"] = {**{name: merged[name] for name in OWN_FIELDS if name in merged}, **kept}
    if kind is not None and (kind or "kind" in old):
        line["kind"] = list(kind)
    line["by"] = by
    if replaced:
        earlier = line.get("replaced")
        line["replaced"] = {**(earlier if isinstance(earlier, Mapping) else {}), **replaced}
    try:
        msgspec.convert(dict(line), CaseLine)
    except (msgspec.ValidationError, ValueError) as error:
        repair = "fix the line in the file by hand, then reload the page"
        raise InputError("case", str(error), "a case as docs/evaluation.md describes it", repair) from error
    return line


# ------------------------------------------------------------------------------------------------ sentences


def check_sentence(words: str) -> None:
    """Check that words are a valid sentence."""
    unseen = next((sign for sign in words if not sign.isprintable()), None)
    if not words.strip():
        raise InputError("sentence", "no words", "a sentence")
    if len(words) > MAX_LENGTH:
        got = f"{words[:_SHOWN]!r} and more, {len(words)} characters"
        raise InputError("sentence", got, f"up to {MAX_LENGTH} characters", "write a shorter one")
    if unseen is not None:
        name = "a tab" if unseen == "\t" else f"the sign U+{ord(unseen):04X}"
        got = f"{name} in {words[:_SHOWN]!r}"
        raise InputError("sentence", got, "visible characters", "remove it, or replace it with a space")


def read_sentences(path: Path) -> tuple[str, ...]:
    """Read the sentences of a text file, one per line; blank lines are skipped."""
    repair = "pass a text file in UTF-8 with one sentence per line"
    try:
        text = read_bytes(path, repair, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(path, str(error), repair) from error
    found = []
    for n, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words:
            continue
        try:
            check_sentence(words)
        except InputError as error:
            raise FileError(path, error.got, error.repair, f"line {n}") from error
        found.append(words)
    if not found:
        raise FileError(path, "it has no sentences", "write one sentence per line")
    return tuple(found)


# ------------------------------------------------------------------------------------------------ decisions

_Text = Annotated[str, msgspec.Meta(max_length=2000, pattern=r"\S")]
_Texts = Annotated[list[_Text], msgspec.Meta(max_length=200)]
_Pixels = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Number = Annotated[float, msgspec.Meta(ge=-1000.0, le=1000.0)]  # also of metres
_Length = Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]


class _GivenPlace(msgspec.Struct, forbid_unknown_fields=True):
    relation: _Text
    anchor_id: str
    region_center: tuple[_Number, _Number, _Number]
    region_half: tuple[_Length, _Length, _Length]


class _GivenAnswer(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    value: _Text | _Number | None = None
    tolerance: _Length | None = None
    ids: _Texts | None = None


class _GivenTruth(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    status: Status
    id: str | None = None
    id_also: _Texts | None = None
    label: _Text | None = None
    box: tuple[_Pixels, _Pixels, _Pixels, _Pixels] | None = None
    place: _GivenPlace | None = None
    answer: _GivenAnswer | None = None


def checked_truth(
    given: object, ids: Iterable[str], size: tuple[int, int] | None, *, with_place: bool
) -> dict[str, Any]:
    """Check the `expect` of the page for an image of (width, height) pixels, and put it in order."""
    truth = _converted("truth", _without_empty(given), _GivenTruth)
    status, answer, place, box = truth.status, truth.answer, truth.place, truth.box
    told = [name for name in OWN_FIELDS[1:] if getattr(truth, name) is not None]
    if status not in ANSWERS and told:
        got, repair = f"{status.value} with {told[0]}", "clear the object, or choose the status OK"
        raise InputError("truth", got, "a refusal without an object, a place or an answer", repair)
    if answer is not None and status is not Status.ANSWERED:
        raise InputError("truth", f"{status.value} with an answer", "the status ANSWERED", "clear the answer")
    also = truth.id_also or []
    if also and (truth.id is None or truth.id in also):
        expected = "further objects beside the right one"
        raise InputError("objects that are also right", str(also), expected, "choose the right object first")
    if box is not None:
        x1, y1, x2, y2 = box
        if not (x1 < x2 and y1 < y2):
            raise InputError("box", str(box), "left before right and top above bottom", _CHANGE)
        if size is not None and not (x1 >= 0 and y1 >= 0 and x2 <= size[0] and y2 <= size[1]):
            raise InputError("box", str(box), f"a box inside the image of {size[0]}x{size[1]} pixels", _CHANGE)
    if place is not None and not with_place:
        raise InputError("place", "one", "none: the camera's pose in base is not known",
                         "add base_T_camera.json or truth.json to the frame")  # fmt: skip
    if answer is not None and answer.tolerance is not None and not isinstance(answer.value, float):
        raise InputError("tolerance", str(answer.tolerance), "none where the answer is not a number", "clear it")
    named = [truth.id, *also, *((answer.ids or []) if answer is not None else [])]
    named += [place.anchor_id] if place is not None and place.anchor_id != "support" else []
    known = {None, *ids}
    unknown = next((one for one in named if one not in known), None)
    if unknown is not None:
        raise InputError("object", unknown, "an object of this frame", "choose one of the numbered objects")
    checked = {name: _tidied(name, value) for name, value in msgspec.to_builtins(truth).items()}
    return checked if box is None else {**checked, "box": rounded_box(box)}


def checked_kind(given: object) -> list[str] | None:
    """Check the words for what a case tests; None if nothing was sent."""
    return None if given is None else list(dict.fromkeys(word.strip() for word in _converted("kind", given, _Texts)))


def _converted(what: str, given: object, form: Any) -> Any:
    try:
        return msgspec.convert(given, form)
    except msgspec.ValidationError as error:
        raise InputError(what, str(error), "what the fields of the page allow", _CHANGE) from error


def _without_empty(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return {name: _without_empty(one) for name, one in value.items() if one not in (None, [], {}, "")}


def _tidied(name: str, value: Any) -> Any:
    """A field of JSON: words without spaces around them, no id twice, numbers rounded and whole ones as such."""
    if isinstance(value, dict):
        return {key: _tidied(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return list(dict.fromkeys(value))
    if isinstance(value, tuple):
        return [round(one, 4) for one in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value.strip() if name in ("label", "relation", "value") else value
