# SPDX-License-Identifier: Apache-2.0
"""What a vision-language model wrote, as places in pixels, or a refusal.

A reply is data: it is read against a schema and the picture's bounds, and never run or obeyed. A reply that breaks a
rule in one place is refused whole, for the rest of it cannot be trusted either. An empty list means "nothing found".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.coordinates import Convention, fitting, looks_like_fractions, to_pixels
from spatial_vlm_ros.perception.replies_json import read_spans
from spatial_vlm_ros.perception.replies_scan import (
    MOST_CHARACTERS,
    ReplyPiece,
    Unreadable,
    WrittenPlace,
    final_part,
    scan,
)
from spatial_vlm_ros.perception.replies_tags import read_locations, read_tags, without_special

LONGEST_LABEL = 80  # characters
_LONGEST_EXCERPT = 120
_MOST_OF_A_LABEL = 1000  # characters looked at for its printable ones
_NOTHING = "there are none"  # Molmo2's way to say so
_CHECK = "find out with `probing.probe` how this model writes places, and name that convention"
_SPANS = ("list", "object", "tuple")


@dataclass(frozen=True)
class NamedObject:
    """One object that a reply names.

    Args:
        label: printable, LONGEST_LABEL characters at most; empty where the reply gives none.
        box_xyxy: left, top, right, bottom, pixels of the image; None where the reply gives a point only.
        point_xy: x, y, pixels of the image; None where the reply gives a box only.
        score: 0 to 1; None where the reply gives none.
    """

    label: str
    box_xyxy: tuple[float, float, float, float] | None
    point_xy: tuple[float, float] | None
    score: float | None


class ReplyError(ModelError):
    """A reply that cannot be read; `excerpt` is its beginning, printable."""

    def __init__(self, model: str, reason: str, excerpt: str, repair: str = "") -> None:
        self.excerpt = excerpt
        words = f"its reply cannot be used: {reason}; the reply begins {excerpt!r}"
        super().__init__(model, words, repair or "ask again, allow a longer reply, or use another prompt or model")


def parse_reply(
    text: str,
    *,
    model: str,
    convention: Convention,
    size: tuple[int, int],
    resized: tuple[int, int] | None = None,
    most: int = 100,
) -> tuple[NamedObject, ...]:
    """Read the places that a model's reply names.

    Known forms: JSON objects in a list, alone or one after the other, in prose or in a code fence; lists and tuples of
    numbers; the tags and location tokens of `replies_tags`. Thinking aloud before `</think>` is passed over; where the
    prompt itself ends with `<think>`, put that before the reply, or one that is cut off while thinking is not seen so.

    Args:
        text: the reply.
        model: its name, for messages.
        convention: in which the model writes places.
        size: (width, height) of the image, pixels.
        resized: (width, height) after the model's processor, for the unit "resized".
        most: places, at most.

    Returns:
        Places in the order written, inside the image, each once; none where the reply says that there are none.

    Raises:
        ReplyError: the reply is cut off, of no known form, against the schema or out of bounds, names more than
            `most`, or gives several answers.
        InputError: `size` or `resized` cannot be a size.
    """
    to_pixels([[0.0, 0.0]], convention, size, resized)  # wrong sizes are the caller's fault, not the reply's
    if not isinstance(text, str):
        raise ReplyError(model, f"it is {type(text).__name__}, not a text", "")
    try:
        if len(text) > MOST_CHARACTERS:
            raise Unreadable(f"it has {len(text)} characters, {MOST_CHARACTERS} at most")
        places = _places(final_part(text), convention)
        if len(places) > most:
            raise Unreadable(f"it names {len(places)} places, {most} at most")
        return _each_once(_found(places, convention, size, resized))
    except Unreadable as error:
        raise ReplyError(
            model, error.reason, printable(text[: 2 * _LONGEST_EXCERPT], _LONGEST_EXCERPT), error.repair
        ) from error


def printable(text: str, longest: int) -> str:
    """A text of others, fit to be shown: no control, direction or undefined characters, single spaces, cut."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "…"


def _places(text: str, convention: Convention) -> tuple[WrittenPlace, ...]:
    pieces = scan(text)
    families = {_family(piece) for piece in pieces}
    if len(families) > 1:
        raise Unreadable("it gives places in two different forms")
    if families == {"locations"}:
        if convention.unit != "bin":
            raise Unreadable(f"it has location tokens, and the convention is {convention.name!r}")
        return read_locations(text, pieces)
    if families == {"tags"}:
        return read_tags(pieces)
    if not pieces and without_special(text).strip().rstrip(".").lower() == _NOTHING:
        return ()
    return read_spans(text, pieces)


def _family(piece: ReplyPiece) -> str:
    if piece.kind == "locations":
        return "locations"
    return "spans" if piece.kind in _SPANS else "tags"


def _found(
    places: tuple[WrittenPlace, ...], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None
) -> Iterator[NamedObject]:
    for place in places:
        box = None if place.box is None else _pixels(place.box, convention, size, resized)
        point = None if place.point is None else _pixels(place.point, convention, size, resized)
        if box is not None:
            _check_corners(box, place, size, resized)
        if box is not None and point is not None and not _inside(point, box):
            raise Unreadable(f"a point {_shown(place.point)} lies outside its own box {_shown(place.box)}")
        yield NamedObject(
            printable(without_special(place.label[:_MOST_OF_A_LABEL]), LONGEST_LABEL),
            None if box is None else (box[0], box[1], box[2], box[3]),
            None if point is None else (point[0], point[1]),
            place.score,
        )


def _each_once(places: Iterable[NamedObject]) -> tuple[NamedObject, ...]:
    """Places without those whose label, box and point have come before."""
    first: dict[object, NamedObject] = {}
    for place in places:
        first.setdefault((place.label, place.box_xyxy, place.point_xy), place)
    return tuple(first.values())


def _pixels(
    values: tuple[float, ...], convention: Convention, size: tuple[int, int], resized: tuple[int, int] | None
) -> tuple[float, ...]:
    if convention.unit == "bin" and any(not value.is_integer() for value in values):
        raise Unreadable(f"{_shown(values)} are no numbers of bins{_hint(values, size, resized)}", _CHECK)
    if convention.unit != "fraction" and looks_like_fractions(values):
        reason = f"{_shown(values)} look like fractions of the picture, and the convention is {convention.name!r}"
        raise Unreadable(reason, _CHECK)
    try:
        return tuple(to_pixels([values], convention, size, resized)[0].tolist())
    except InputError as error:
        hint = _hint(values, size, resized)
        reason = f"{_shown(values)} cannot be in the convention {convention.name!r}{hint}"
        raise Unreadable(reason, _CHECK) from error


def _check_corners(
    box: tuple[float, ...], place: WrittenPlace, size: tuple[int, int], resized: tuple[int, int] | None
) -> None:
    if box[0] < box[2] and box[1] < box[3]:
        return
    fault = "has no area" if box[0] <= box[2] and box[1] <= box[3] else "has its corners in another order"
    raise Unreadable(f"the box {_shown(place.box)} {fault}{_hint(place.box or (), size, resized)}", _CHECK)


def _hint(values: tuple[float, ...], size: tuple[int, int], resized: tuple[int, int] | None) -> str:
    names = fitting(values, size, resized)
    return f"; they would fit {' or '.join(names)}" if names else "; they fit no convention known here"


def _shown(values: tuple[float, ...] | None) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values or ()) + ")"


def _inside(point: tuple[float, ...], box: tuple[float, ...]) -> bool:
    """Whether a point lies in a box, or one pixel from it at most."""
    return box[0] - 1 <= point[0] <= box[2] + 1 and box[1] - 1 <= point[1] <= box[3] + 1
