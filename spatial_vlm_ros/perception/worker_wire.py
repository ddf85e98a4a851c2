# SPDX-License-Identifier: Apache-2.0
"""Messages between a grounder's process and its owner, byte for byte.

A frame consists of 16 bytes (magic, length of header, length of body), a MessagePack header that is checked against the
classes below, and a body of raw arrays. A request is the name of a method with its arguments, an answer what the method
returns; ARGUMENTS and ANSWERS hold the types. Nothing that arrives is ever executed, and no memory is reserved beyond
LONGEST_HEADER and LONGEST_BODY, whatever length the other side claims.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

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
from spatial_vlm_ros.perception.referring import MOST_FOUND
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

LONGEST_HEADER = 1 << 24  # bytes; 5,000 detections take about 1 MB
LONGEST_BODY = 1 << 29  # bytes; 5,000 masks of 640x480 take 192 MB
_LEAD = struct.Struct("!4sIQ")
_MAGIC = b"SVG1"
_LONGEST_TEXT = 4000  # characters of an error's own words

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Body = memoryview
Parts = list[memoryview]
"""The body of a frame to be sent; its arrays are not copied."""


class WireError(Exception):
    """The other side broke the protocol; what it sends next cannot be understood."""


class Abilities(msgspec.Struct, frozen=True):
    """What a loaded backend can do.

    Args:
        methods: those of ANSWERS that it has.
        likelihoods: whether its judge gives probabilities; see judging.tells_likelihoods.
        domain: domain that it declares.
    """

    methods: tuple[str, ...]
    likelihoods: bool = False
    domain: ModelDomain = "unknown"


ARGUMENTS: dict[str, Any] = {
    "load": tuple[str, dict[str, str]],
    "ground": tuple[tuple[NounPhrase, ...]],
    "refer": tuple[str],
    "masked": tuple[tuple[Detection, ...]],
    "judge": tuple[tuple[RelationQuestion, ...], float, str],
}
"""Method → its arguments beside the image; "load" is the first call, with name and options of the backend."""
ANSWERS: dict[str, Any] = {
    "load": Abilities,
    "ground": Grounding,
    "refer": tuple[NamedObject, ...],
    "masked": tuple[Detection, ...],
    "judge": tuple[float | None, ...],
}
_FIRST: dict[str, tuple[str, type, float, str, str]] = {
    "ground": ("phrases", NounPhrase, math.inf, "NounPhrases of text and numbers", "pass what parse() returns"),
    "refer": ("words", str, _LONGEST_TEXT, f"text of {_LONGEST_TEXT} bytes at most", "shorten or correct the text"),
    "masked": ("detections", Detection, math.inf, "Detection objects", "build Detection(...) of each"),
    "judge": (
        "questions",
        RelationQuestion,
        MOST_QUESTIONS,
        f"{MOST_QUESTIONS} RelationQuestions of plain numbers at most",
        "use float, and ask fewer questions",
    ),
}
"""Method → name, class and greatest length of its first argument, and what to say of another one."""


class WorkerCall(msgspec.Struct, tag=True, frozen=True):
    """A call of a method; its body is the (height, width, 3) uint8 image."""

    number: Count
    method: Literal["load", "ground", "refer", "masked", "judge"]
    arguments: msgspec.Raw
    height: Count = 0
    width: Count = 0


class WorkerReply(msgspec.Struct, tag=True, frozen=True):
    """What a method returned; its body are the arrays in it, bool ones with one bit per pixel."""

    number: Count
    value: msgspec.Raw


class WireArray(msgspec.Struct, frozen=True):
    """Stands in an answer for the next array of the body."""

    shape: tuple[Count, ...]


class Failed(msgspec.Struct, tag=True, frozen=True):
    """A failure instead of an answer; number 0 = while loading.

    Args:
        number: number of the request.
        kind: class name of the error.
        words: arguments of the error.
    """

    number: Count
    kind: Literal["model", "timeout", "input", "unfamiliar", "marks"]
    words: tuple[str, ...]


FromWorker = WorkerReply | Failed


class Channel:
    """Sends and receives frames over a connected stream socket, blocking or not; one thread at a time.

    Args:
        connection: the socket; the channel closes it.
        expects: union of the headers that may arrive.
    """

    def __init__(self, connection: socket.socket, expects: Any) -> None:
        self._connection = connection
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(expects)
        self._unsent: list[memoryview] = []
        self._begin(_LEAD.size)

    def _begin(self, size: int, header: int = 0) -> None:
        """Expect `size` bytes next, of which `header` are a header; 0 = the lead of a frame."""
        # np.empty: reserved memory costs nothing until it is filled
        self._buffer, self._filled, self._header = np.empty(size, np.uint8).data, 0, header

    def fileno(self) -> int:
        """File descriptor of the socket, for poll."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()

    def post(self, header: WorkerCall | FromWorker, body: Sequence[memoryview] = ()) -> None:
        """Append a frame to what `flush` sends. The body's arrays are not copied."""
        parts = [part.cast("B") for part in body if part.nbytes]
        encoded = msgspec.msgpack.encode(header)
        lead = _LEAD.pack(_MAGIC, len(encoded), sum(len(part) for part in parts))
        self._unsent += [memoryview(lead + encoded), *parts]

    def flush(self) -> bool:
        """Send what the socket accepts and return whether all is sent; raises OSError if the other side is gone."""
        while self._unsent:
            try:
                sent = self._connection.send(self._unsent[0])
            except BlockingIOError:
                return False
            self._unsent[0] = self._unsent[0][sent:]
            if not len(self._unsent[0]):
                del self._unsent[0]
        return True

    def receive(self) -> tuple[Any, Body] | None:
        """Receive the available data; a blocking socket waits for some.

        Returns:
            Header and body, or None while the frame is incomplete.

        Raises:
            EOFError: the other side is gone.
            WireError: what arrived is not a frame.
        """
        try:
            while self._filled < len(self._buffer):
                got = self._connection.recv_into(self._buffer[self._filled :])
                if not got:
                    raise EOFError
                self._filled += got
                if self._filled == _LEAD.size and not self._header:
                    magic, header_size, body_size = _LEAD.unpack(self._buffer)
                    if magic != _MAGIC or not 0 < header_size <= LONGEST_HEADER or body_size > LONGEST_BODY:
                        raise WireError(f"it sent {bytes(self._buffer)!r} at the beginning of a frame")
                    self._begin(header_size + body_size, header_size)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise EOFError from error
        header, body = self._buffer[: self._header], self._buffer[self._header :]
        self._begin(_LEAD.size)
        try:
            return self._decoder.decode(header), body
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError(f"its header has the wrong form: {error}") from error


# ------------------------------------------------------------------------------------------------ calls


def load_call(name: str, options: dict[str, str]) -> WorkerCall:
    """Make the first call: which backend to load."""
    return WorkerCall(0, "load", msgspec.Raw(msgspec.msgpack.encode((name, options))))


def call(
    number: int, method: Literal["ground", "refer", "masked", "judge"], rgb: Rgb, first: Any, *others: object
) -> tuple[WorkerCall, Parts]:
    """Make a call about an image: header and body.

    Args:
        rgb: (H, W, 3) uint8.
        first: the first argument after the image; a tuple, or a text for "refer".

    Raises:
        InputError: the first argument is something else or too long, an argument has a part that cannot be sent, or the
            image is too large.
        ShapeError: `rgb` is not (H, W, 3) uint8.
    """
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError("rgb", "(H, W, 3) uint8", f"{np.shape(rgb)} {getattr(rgb, 'dtype', type(rgb).__name__)}")
    if rgb.nbytes > LONGEST_BODY:
        raise InputError("rgb", f"{rgb.nbytes} bytes", f"{LONGEST_BODY} at most", "use a smaller image")
    what, kind, most, expected, repair = _FIRST[method]
    for one in first if isinstance(first, tuple) else (first,):
        if not isinstance(one, kind):
            raise InputError(what, type(one).__name__, expected, repair)
    try:
        length = len(first.encode() if isinstance(first, str) else first)
        encoded = msgspec.msgpack.encode((first, *others))
        msgspec.msgpack.decode(encoded, type=ARGUMENTS[method])  # an unreadable call would end the process
    except (UnicodeEncodeError, TypeError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(what, str(error), expected, repair) from error
    if length > most:
        raise InputError(what, f"a length of {length}", expected, repair)
    header = WorkerCall(number, method, msgspec.Raw(encoded), rgb.shape[0], rgb.shape[1])
    return header, [np.ascontiguousarray(rgb).data] if rgb.size else []


def image_of(header: WorkerCall, body: Body) -> Rgb:
    """Return the image of a call, (H, W, 3) uint8, writable.

    Raises:
        WireError: the body does not have the size given in the header.
    """
    if len(body) != header.height * header.width * 3:
        raise WireError(f"an image of {len(body)} bytes for {header.width}x{header.height} pixels")
    return np.frombuffer(body, np.uint8).reshape(header.height, header.width, 3)


def arguments_of(header: WorkerCall) -> tuple[Any, ...]:
    """Return the arguments of a call beside the image; raises WireError if they do not have the method's types."""
    found: tuple[Any, ...] = _decoded(header.arguments, ARGUMENTS[header.method], memoryview(b""))
    return found


# ------------------------------------------------------------------------------------------------ answers


def reply(number: int, value: object) -> tuple[WorkerReply, Parts]:
    """Make header and body of an answer.

    Raises:
        InputError: its arrays are too large.
        TypeError: it has a part that is not of a type of ANSWERS.
    """
    body: Parts = []

    def hooked(part: object) -> object:
        if isinstance(part, np.ndarray):
            body.append((np.packbits(part) if part.dtype == np.bool_ else np.ascontiguousarray(part)).data)
            return WireArray(part.shape)
        if isinstance(part, np.generic):
            return part.item()
        raise TypeError(f"{type(part).__name__} in an answer")

    encoded = msgspec.msgpack.encode(value, enc_hook=hooked)
    if sum(part.nbytes for part in body) > LONGEST_BODY:
        raise InputError("masks", f"{len(body)} of them", f"{LONGEST_BODY} bytes at most", "raise the score threshold")
    return WorkerReply(number, msgspec.Raw(encoded)), body


def answer_of(method: str, header: WorkerReply, body: Body, size: tuple[int, int], n: int) -> Any:
    """Read the answer to a call; see `checked`.

    Raises:
        WireError: it does not have the method's type, its arrays are not those of the body, or `checked` refuses it.
    """
    try:
        return checked(method, _decoded(header.value, ANSWERS[method], body, size), size, n, "worker")
    except ModelError as error:
        raise WireError(error.reason) from error
    except InputError as error:
        raise WireError(str(error)) from error


def checked(method: str, answer: Any, size: tuple[int, int], n: int, model: str) -> Any:
    """Check what a method returned, in its process and again at its owner.

    Args:
        size: (height, width) of the image, pixels.
        n: length of the first argument of the call.
        model: name of the backend, for messages.

    Returns:
        The answer with plain numbers and texts.

    Raises:
        InputError: an element is not a Detection or NamedObject or not finite, the match is not a matrix, or there are
            too many objects.
        ModelError: the probabilities are not those of `n` questions.
        ShapeError: a mask has another size than the image.
    """
    if method == "load":
        return answer
    if method == "judge":
        return check_probabilities(answer, n, model)
    if method == "refer":
        return _named(answer)
    if method == "masked":
        return _detections(answer, size)
    match = np.ascontiguousarray(answer.match, np.float64)
    if match.ndim != 2:
        raise ShapeError("match", "(P, N)", str(match.shape))
    unread = tuple(str(note)[:_LONGEST_TEXT] for note in answer.unread)
    return Grounding(_detections(answer.detections, size), match, unread, answer.profile)


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


def _named(found: Sequence[NamedObject]) -> tuple[NamedObject, ...]:
    objects = []
    for one in found:
        if not isinstance(one, NamedObject):
            raise InputError("objects found", type(one).__name__, "a NamedObject", "build NamedObject(...) of each")
        box, point = (
            None if values is None else tuple(float(v) for v in values) for values in (one.box_xyxy, one.point_xy)
        )
        score = None if one.score is None else float(one.score)
        if not all(math.isfinite(v) for v in (*(box or ()), *(point or ()), score or 0.0)):
            raise InputError("an object found", str(one), "finite numbers", "fix the backend")
        objects.append(NamedObject(str(one.label), box, point, score))  # type: ignore[arg-type]  # see ANSWERS
    if len(objects) > MOST_FOUND:
        raise InputError("what was found", f"{len(objects)} objects", f"{MOST_FOUND} at most", "ask for one object")
    return tuple(objects)


def _decoded(encoded: msgspec.Raw, kind: Any, body: Body, size: tuple[int, int] | None = None) -> Any:
    """Read a value of a type, with its arrays from the body in the order in which they were written.

    Args:
        size: (height, width) of every mask in it.
    """
    left = body

    def hooked(wanted: Any, part: object) -> npt.NDArray[Any]:
        nonlocal left
        shape = msgspec.convert(part, WireArray).shape
        dtype = np.dtype(wanted.__args__[1].__args__[0])
        if dtype == np.bool_ and shape != size:
            raise ValueError(f"a mask of {shape} for an image of {size}")
        numbers = math.prod(shape)
        length = (numbers + 7) // 8 if dtype == np.bool_ else numbers * dtype.itemsize
        if length > len(left):
            raise ValueError(f"an array of {length} bytes, with {len(left)} left")
        data, left = np.frombuffer(left[:length], np.uint8), left[length:]
        if dtype == np.bool_:
            return np.unpackbits(data, count=numbers).view(np.bool_).reshape(shape)
        return data.copy().view(dtype).reshape(shape)

    try:
        value = msgspec.msgpack.decode(encoded, type=kind, dec_hook=hooked)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"it has the wrong form: {error}") from error
    if len(left):
        raise WireError(f"it has {len(left)} bytes more than its arrays")
    return value


# ------------------------------------------------------------------------------------------------ failures


def failed(number: int, error: Exception) -> Failed:
    """Make the failure message for an error."""
    kind: Literal["model", "timeout", "input", "unfamiliar", "marks"] = "model"
    if isinstance(error, UnfamiliarImageError):
        kind, words = "unfamiliar", [error.model, repr(error.distance), repr(error.limit)]
    elif isinstance(error, ModelError):
        kind = "timeout" if isinstance(error, ModelTimeoutError) else "model"
        kind = "marks" if isinstance(error, MarksError) else kind
        words = [error.model, error.reason, error.repair]
    elif isinstance(error, DependencyError):
        words = ["", f"the package {error.package!r} is not installed", error.repair]
    elif isinstance(error, InputError) and not number:
        kind, words = "input", [error.what, error.got, error.expected, error.repair]
    else:
        words = ["", f"{type(error).__name__}: {error}", "see the backend's log"]
    return Failed(number, kind, tuple(_plain(word) for word in words))


def error_of(header: Failed, name: str) -> SpatialVlmError:
    """The error to raise for a failure of the backend `name`.

    Raises:
        WireError: an error of this kind has another number of arguments.
    """
    if len(header.words) != (4 if header.kind == "input" else 3):
        raise WireError(f"a failure of kind {header.kind} with {len(header.words)} words")
    if header.kind == "input":
        return InputError(*header.words)
    if header.kind == "unfamiliar":
        try:
            return UnfamiliarImageError(header.words[0] or name, float(header.words[1]), float(header.words[2]))
        except ValueError as error:
            raise WireError(f"an invalid report of an unfamiliar image: {header.words}") from error
    kinds: dict[str, type[ModelError]] = {"timeout": ModelTimeoutError, "marks": MarksError}
    return kinds.get(header.kind, ModelError)(header.words[0] or name, *header.words[1:])


def _plain(text: object) -> str:
    words = str(text).encode("utf-8", "backslashreplace").decode()
    half = _LONGEST_TEXT // 2
    return words if len(words) <= _LONGEST_TEXT else f"{words[:half]} … {words[-half:]}"
