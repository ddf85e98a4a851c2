# SPDX-License-Identifier: Apache-2.0
"""All faults, and their words: "depth=stuck camera.stamp=wrong:0.15". `effects.json` has the effects, as rows.

A *stream* is the output of one publisher, controller or model. A *part* of a stream is the contents of its messages
(""), their "stamp" or their "frame_id". The *form* of a stream decides the effect of its faults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from spatial_vlm_ros.errors import InputError, UnknownNameError

KINDS = ("off", "stuck", "garbage", "slow", "delayed", "intermittent", "wrong")
CONTENTS, STAMP, FRAME_ID = "", "stamp", "frame_id"
FORMS: Mapping[str, str] = MappingProxyType(
    {
        "rgb": "colour",
        "depth": "depth",
        "info": "info",
        "detections": "detections",
        "tf": "transforms",
        "tf_static": "transforms",
        "joints": "joints",
        "clock": "clock",
        "arm": "arm",
        "gripper": "gripper",
        "model": "model",
    }
)
"""Stream → its form."""
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType({"camera": ("rgb", "depth", "info", "detections")})
"""Name → the streams that one fault of this group applies to: streams from one host, stamped by its clock."""
WITH_FRAME_ID = ("colour", "depth", "compressed", "info", "detections", "transforms")
WITH_STAMP = (*WITH_FRAME_ID, "joints")
_WHAT = "faults"
_REPAIR = 'write "stream=kind" or "stream=kind:amount", several with spaces between; docs/fault_injection.md lists them'


@dataclass(frozen=True)
class Effect:
    """Effect of a kind of fault on a stream."""

    does: str
    unit: str | None = None  # of the amount; None if the kind takes no amount
    default: float = 0.0  # the amount if none is given
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Fault:
    """One fault of one stream."""

    stream: str
    part: str  # "" (the contents), "stamp" or "frame_id"
    kind: str
    amount: float = 0.0  # in the unit that EFFECTS names; 0.0 where the kind takes none

    @property
    def of_contents(self) -> bool:
        """Whether it changes the content of messages, not the time of publication."""
        return bool(self.part) or self.kind in ("stuck", "garbage", "wrong")


# Rows are for one or several forms or parts, and one or several kinds.
_ROWS = json.loads((resources.files(__package__) / "effects.json").read_text(encoding="utf-8"))
_BY_KIND = sorted(_ROWS["effects"], key=lambda row: KINDS.index(row[1]))
EFFECTS: Mapping[str, Mapping[str, Effect]] = {
    room: {kind: Effect(*effect) for rooms, kind, *effect in _BY_KIND if room in rooms.split()}
    for listed, *_ in _ROWS["effects"]
    for room in listed.split()
}
IMPOSSIBLE: Mapping[tuple[str, str], str] = {
    (room, kind): why for room, kinds, why in _ROWS["impossible"] for kind in kinds.split()
}
"""Form of a stream, or part → kind → its effect; (form or part, kind) → why there is no such fault, and what to use."""


def read_faults(words: str, forms: Mapping[str, str] = FORMS) -> tuple[Fault, ...]:
    """Parse a list of faults: one for each stream and part, in the order of the words.

    "stream=kind", "stream=kind:amount", "stream.stamp=kind" or "stream.frame_id=kind", with spaces between; a group
    (GROUPS) stands for each of its streams that is in `forms`.
    """
    found: dict[tuple[str, str], Fault] = {}
    for word in words.split():
        target, equals, told = word.partition("=")
        if not equals or not target or not told:
            raise InputError(_WHAT, repr(word), "stream=kind", _REPAIR)
        known = targets(forms)
        if target not in known:
            raise UnknownNameError("stream with faults", target, known)
        name, part = target, CONTENTS
        if target not in forms and target not in GROUPS:  # the name of a topic may contain a full stop
            name, _, part = target.rpartition(".")
        kind, colon, amount = told.partition(":")
        for stream in [name] if name in forms else [each for each in GROUPS[name] if each in forms]:
            if (stream, part) in found:
                raise InputError(_WHAT, f"{target} twice", "each stream once", "remove one of them")
            effect = effect_of(forms[stream], part, kind, f"{stream}.{part}" if part else stream)
            found[stream, part] = Fault(stream, part, kind, _amount(word, effect, amount if colon else None))
    return tuple(found.values())


def effect_of(form: str, part: str, kind: str, target: str = "") -> Effect:
    """Return the effect of a kind of fault on a form of stream, or on a part of it."""
    room = part or form
    if (room, kind) in IMPOSSIBLE:
        kinds = ", ".join(EFFECTS[room])
        raise InputError(_WHAT, f"{kind!r} of {target or room}", f"one of {kinds}", IMPOSSIBLE[room, kind])
    if kind not in EFFECTS[room]:
        raise UnknownNameError(f"fault of {target or room}", kind, EFFECTS[room])
    return EFFECTS[room][kind]


def parts_of(form: str) -> tuple[str, ...]:
    """The parts of a stream of this form."""
    return (CONTENTS, *((STAMP,) if form in WITH_STAMP else ()), *((FRAME_ID,) if form in WITH_FRAME_ID else ()))


def targets(forms: Mapping[str, str]) -> tuple[str, ...]:
    """All words allowed before "=", groups last."""
    groups = {group: "colour" for group, streams in GROUPS.items() if set(streams) & set(forms)}
    named = {**forms, **groups}
    return tuple(f"{name}.{part}" if part else name for name, form in named.items() for part in parts_of(form))


def as_words(faults: Iterable[Fault]) -> str:
    """Write faults in the format of `read_faults`."""
    return " ".join(
        f"{fault.stream}{'.' if fault.part else ''}{fault.part}={fault.kind}"
        + (f":{fault.amount:g}" if fault.amount else "")
        for fault in faults
    )


def _amount(word: str, effect: Effect, text: str | None) -> float:
    if effect.unit is None:
        if text is not None:
            raise InputError(_WHAT, repr(word), "no amount", f"write {word.partition(':')[0]!r}: {effect.does}")
        return 0.0
    if text is None:
        return effect.default
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not effect.low <= amount <= effect.high:
        expected = f"an amount of {effect.low:g} to {effect.high:g} {effect.unit}".rstrip()
        raise InputError(_WHAT, repr(word), expected, f"the amount means: {effect.does}")
    return amount
