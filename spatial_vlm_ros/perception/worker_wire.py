# SPDX-License-Identifier: Apache-2.0
"""Messages between a grounder's process and its owner, in MessagePack.

A message is the number of a request, a kind and a value. A call has a method as its kind, with the image's size and the
method's arguments as value; the image's bytes follow. A reply has "answer", with what the method returns, or a kind of
FAILURES, with the arguments of the error. An array in it is sent as its shape and its bytes, one of bool with one bit
per value. All values are checked against the types below, nothing that arrives is ever executed, and no more than
LONGEST bytes are received at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import (
    DependencyError,
    InputError,
    ModelError,
    ModelTimeoutError,
    ShapeError,
    SpatialVlmError,
    UnfamiliarImageError,
)
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import MOST_QUESTIONS, MarksError, RelationQuestion, check_probabilities
from spatial_vlm_ros.perception.referring import check_found
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

LONGEST = 1 << 29  # bytes; 5,000 masks of 640x480 take 192 MB
_LONGEST_TEXT = 4000  # characters of words to refer to, and of an error's own words
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
_Shape = Annotated[tuple[Count, ...], msgspec.Meta(max_length=3)]
Message = tuple[int, str, msgspec.Raw]
"""Number of a request (0 = load the backend), kind, value."""


class WireError(Exception):
    """The other side broke the protocol; what it sends next cannot be understood."""


class Abilities(msgspec.Struct, frozen=True):
    """What a loaded backend can do."""

    methods: tuple[str, ...]
    likelihoods: bool = False  # whether its judge gives probabilities; see judging.tells_likelihoods
    domain: ModelDomain = "unknown"


ARGUMENTS: dict[str, Any] = {
    "load": tuple[str, dict[str, str]],
    "ground": tuple[tuple[NounPhrase, ...]],
    "refer": tuple[Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]],
    "masked": tuple[tuple[Detection, ...]],
    "judge": tuple[Annotated[tuple[RelationQuestion, ...], msgspec.Meta(max_length=MOST_QUESTIONS)], float, str],
}
"""Method → its arguments beside the image; "load" is the first call, with name and options of the backend."""
ANSWERS: dict[str, Any] = {
    "load": Abilities,
    "ground": Grounding,
    "refer": tuple[NamedObject, ...],
    "masked": tuple[Detection, ...],
    "judge": tuple[float | None, ...],
}
FAILURES: dict[str, tuple[type[SpatialVlmError], Any]] = {
    "model": (ModelError, tuple[str, str, str]),
    "timeout": (ModelTimeoutError, tuple[str, str, str]),
    "marks": (MarksError, tuple[str, str, str]),
    "unfamiliar": (UnfamiliarImageError, tuple[str, float, float]),
    "input": (InputError, tuple[str, str, str, str]),
}
"""Kind of a failure → its error, and the types of that error's arguments."""
_FIRST = {
    "ground": ("phrases", "NounPhrases of text and numbers", "pass what parse() returns"),
    "refer": ("words", f"text of {_LONGEST_TEXT} characters at most", "shorten or correct the text"),
    "masked": ("detections", "Detection objects", "build Detection(...) of each"),
    "judge": (
        "questions",
        f"{MOST_QUESTIONS} RelationQuestions of plain numbers at most",
        "use float, and ask fewer questions",
    ),
}
"""Method → name of its first argument, and what to say of one that cannot be sent."""


def call(number: int, method: str, rgb: Rgb, *arguments: object) -> tuple[bytes, memoryview]:
    """Make a call about an image: a message, and the image's bytes; the other arguments are those of ARGUMENTS.

    InputError for arguments of other types, or that are too long; ShapeError if `rgb` is not (H, W, 3) uint8.
    """
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError("rgb", "(H, W, 3) uint8", f"{np.shape(rgb)} {getattr(rgb, 'dtype', type(rgb).__name__)}")
    try:
        encoded = msgspec.msgpack.encode(arguments)
        msgspec.msgpack.decode(encoded, type=ARGUMENTS[method])  # an unreadable call would end the process
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        what, expected, repair = _FIRST[method]
        raise InputError(what, str(error), expected, repair) from error
    if rgb.nbytes > LONGEST:
        raise InputError("rgb", f"{rgb.nbytes} bytes", f"{LONGEST} at most", "use a smaller image")
    value = (rgb.shape[0], rgb.shape[1], msgspec.Raw(encoded))
    return message(number, method, value), np.ascontiguousarray(rgb).reshape(-1).data


def message(number: int, kind: str, value: object) -> bytes:
    """Encode a message; raises TypeError if a part of the value cannot be sent."""
    return msgspec.msgpack.encode((number, kind, value), enc_hook=_plain)


def arguments_of(method: str, value: msgspec.Raw) -> tuple[tuple[int, int], tuple[Any, ...]]:
    """Return the image's height and width, and the arguments of a call; raises WireError if they have other types."""
    if method not in _FIRST:
        raise WireError(f"a call of {method!r}")
    height, width, rest = decoded(value, tuple[Count, Count, msgspec.Raw])
    return (height, width), decoded(rest, ARGUMENTS[method])


def answer(number: int, value: object) -> bytes:
    """Make the reply with what a method returned: a value of ANSWERS that is not too large."""
    made = message(number, "answer", value)
    if len(made) > LONGEST:
        raise InputError("masks", f"{len(made)} bytes", f"{LONGEST} at most", "raise the score threshold")
    return made


def answer_of(method: str, value: msgspec.Raw, size: tuple[int, int], n: int) -> Any:
    """Read what a method returned; raises WireError if it does not have the method's type, or `checked` refuses it."""
    try:
        return checked(method, decoded(value, ANSWERS[method]), size, n, "worker")
    except ModelError as error:
        raise WireError(error.reason) from error
    except InputError as error:
        raise WireError(str(error)) from error


def checked(method: str, value: Any, size: tuple[int, int], n: int, model: str) -> Any:
    """Check what a method returned for an image (height, width), in its process and again at its owner.

    InputError, ShapeError for masks of another size, or ModelError for probabilities that are not of `n` questions.
    """
    if method == "judge":
        return check_probabilities(value, n, model)
    if method == "refer":
        return check_found(value, model)
    if method == "masked":
        return _detections(value, size)
    if method == "load":
        return value
    match = np.ascontiguousarray(value.match, np.float64)
    if match.ndim != 2:
        raise ShapeError("match", "(P, N)", str(match.shape))
    unread = tuple(str(note)[:_LONGEST_TEXT] for note in value.unread)
    return Grounding(_detections(value.detections, size), match, unread, value.profile)


def _detections(found: Sequence[Detection], size: tuple[int, int]) -> tuple[Detection, ...]:
    for one in found:
        if not isinstance(one, Detection):
            raise InputError("detections", type(one).__name__, "Detection objects", "build Detection(...) of each")
        if one.mask is not None and one.mask.shape != size:
            raise ShapeError(f"mask of detection {one.id!r}", str(size), str(one.mask.shape))
    return tuple(
        replace(one, id=str(one.id), label=str(one.label), attributes=tuple(str(word) for word in one.attributes))
        for one in found
    )


def failure(number: int, error: Exception) -> bytes:
    """Make the reply for an error; an InputError is one of the caller only while the backend is loaded."""
    if isinstance(error, UnfamiliarImageError):
        return message(number, "unfamiliar", (_shortened(error.model), error.distance, error.limit))
    words: tuple[object, ...]
    if isinstance(error, ModelError):
        timeout = isinstance(error, ModelTimeoutError)
        kind = "timeout" if timeout else "marks" if isinstance(error, MarksError) else "model"
        words = (error.model, error.reason, error.repair)
    elif isinstance(error, DependencyError):
        kind, words = "model", ("", f"the package {error.package!r} is not installed", error.repair)
    elif isinstance(error, InputError) and not number:
        kind, words = "input", (error.what, error.got, error.expected, error.repair)
    else:
        kind, words = "model", ("", f"{type(error).__name__}: {error}", "see the backend's log")
    return message(number, kind, tuple(map(_shortened, words)))


def error_of(kind: str, value: msgspec.Raw, name: str) -> SpatialVlmError:
    """The error to raise for a failure of the backend `name`; raises WireError if it is none of FAILURES."""
    if kind not in FAILURES:
        raise WireError(f"a reply of kind {kind!r}")
    made, types = FAILURES[kind]
    words = decoded(value, types)
    return made(*words) if made is InputError else made(words[0] or name, *words[1:])


def _shortened(text: object) -> str:
    words = str(text).encode("utf-8", "backslashreplace").decode()
    half = _LONGEST_TEXT // 2
    return words if len(words) <= _LONGEST_TEXT else f"{words[:half]} … {words[-half:]}"


def decoded(encoded: msgspec.Raw | bytes, kind: Any) -> Any:
    """Read a value of a type; raises WireError if it is another one."""
    try:
        return msgspec.msgpack.decode(encoded, type=kind, dec_hook=_array)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"it has the wrong form: {error}") from error


def _plain(part: object) -> object:
    if isinstance(part, np.ndarray):
        return part.shape, (np.packbits(part) if part.dtype == np.bool_ else part).tobytes()
    if isinstance(part, np.generic):
        return part.item()
    raise TypeError(f"{type(part).__name__} in a message")


def _array(wanted: Any, part: object) -> npt.NDArray[Any]:
    """The array of a type that was sent as shape and bytes."""
    shape, data = msgspec.convert(part, tuple[_Shape, bytes])
    dtype, numbers = np.dtype(wanted.__args__[1].__args__[0]), math.prod(shape)
    if len(data) != ((numbers + 7) // 8 if dtype == np.bool_ else numbers * dtype.itemsize):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    values = np.frombuffer(data, np.uint8)
    flat = np.unpackbits(values, count=numbers).view(dtype) if dtype == np.bool_ else values.copy().view(dtype)
    return flat.reshape(shape)
