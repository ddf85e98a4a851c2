# SPDX-License-Identifier: Apache-2.0
"""Parse faults such as "depth=stuck camera.stamp=wrong:0.15", and refuse invalid ones with the allowed values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.sim.faults.catalogue import (
    CONTENTS,
    EFFECTS,
    FORMS,
    FRAME_ID,
    GROUPS,
    IMPOSSIBLE,
    STAMP,
    WITH_FRAME_ID,
    WITH_STAMP,
    Effect,
)

_WHAT = "faults"
_REPAIR = 'write "stream=kind" or "stream=kind:amount", several with spaces between; docs/fault_injection.md lists them'


@dataclass(frozen=True)
class Fault:
    """One fault of one stream.

    Args:
        part: "" (the contents), "stamp" or "frame_id".
        kind: one of `catalogue.KINDS`.
        amount: in the unit that `catalogue.EFFECTS` names; 0.0 where the kind takes none.
    """

    stream: str
    part: str
    kind: str
    amount: float = 0.0

    @property
    def of_contents(self) -> bool:
        """Whether it changes the content of messages, not the time of publication."""
        return bool(self.part) or self.kind in ("stuck", "garbage", "wrong")


def read_faults(words: str, forms: Mapping[str, str] = FORMS) -> tuple[Fault, ...]:
    """Parse a list of faults.

    Args:
        words: "stream=kind", "stream=kind:amount", "stream.stamp=kind" or "stream.frame_id=kind", with spaces between;
            empty = none. A group (`catalogue.GROUPS`) stands for each of its streams that is in `forms`.

    Returns:
        One fault for each stream and part, in the order of the words.
    """
    found: dict[tuple[str, str], Fault] = {}
    for word in words.split():
        target, equals, told = word.partition("=")
        if not equals or not target or not told:
            raise InputError(_WHAT, repr(word), "stream=kind", _REPAIR)
        name, part = _parted(target, forms)
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
    return tuple(
        f"{name}.{part}" if part else name
        for name, form in {**forms, **groups}.items()
        for part in parts_of(form)
    )  # fmt: skip


def as_words(faults: Iterable[Fault]) -> str:
    """Write faults in the format of `read_faults`."""
    return " ".join(
        f"{fault.stream}{'.' if fault.part else ''}{fault.part}={fault.kind}"
        + (f":{fault.amount:g}" if fault.amount else "")
        for fault in faults
    )


def _parted(target: str, forms: Mapping[str, str]) -> tuple[str, str]:
    """Split a target into stream or group, and part."""
    known = targets(forms)
    if target not in known:
        raise UnknownNameError("stream with faults", target, known)
    if target in forms:  # the name of a topic may contain a full stop
        return target, CONTENTS
    name, _, part = target.rpartition(".")
    return (name, part) if name else (part, CONTENTS)


def _amount(word: str, effect: Effect, text: str | None) -> float:
    if effect.unit is None:
        if text is not None:
            raise InputError(_WHAT, repr(word), "no amount", f"write {word.partition(':')[0]!r}: {effect.does}")
        return 0.0
    if text is None:
        return effect.default
    expected = f"an amount of {effect.low:g} to {effect.high:g} {effect.unit}".rstrip()
    try:
        amount = float(text)
    except ValueError as error:
        raise InputError(_WHAT, repr(word), expected, f"the amount means: {effect.does}") from error
    if not (math.isfinite(amount) and effect.low <= amount <= effect.high):
        raise InputError(_WHAT, repr(word), expected, f"the amount means: {effect.does}")
    return amount
