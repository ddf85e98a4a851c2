# SPDX-License-Identifier: Apache-2.0
"""Messages between a grounder's process and its owner, byte for byte.

A frame consists of 16 bytes (magic, length of header, length of body), a MessagePack header that is checked against the
classes below, and a body of raw arrays. Nothing that arrives is ever executed, and no memory is reserved beyond
LONGEST_HEADER and LONGEST_BODY, whatever length the other side claims.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Sequence
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
from spatial_vlm_ros.perception import replies
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import MOST_QUESTIONS, RelationQuestion, check_probabilities
from spatial_vlm_ros.perception.referring import MOST_FOUND
from spatial_vlm_ros.perception.relation_marks import BOXES, MarksError
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

LONGEST_HEADER = 1 << 24  # bytes; 5,000 detections take about 1 MB
LONGEST_BODY = 1 << 29  # bytes; 5,000 masks of 640x480 take 192 MB
_LEAD = struct.Struct("!4sIQ")
_MAGIC = b"SVG1"
_LONGEST_TEXT = 4000  # characters of an error's own words

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Body = memoryview


class WireError(Exception):
    """The other side broke the protocol; what it sends next cannot be understood."""


class Load(msgspec.Struct, tag=True, frozen=True):
    """First frame to the process: which backend to load."""

    name: str
    options: dict[str, str]


class Ready(msgspec.Struct, tag=True, frozen=True):
    """First frame from the process: the backend is loaded.

    Args:
        refers: whether it also accepts whole phrases.
        judges: whether it can be asked about relations.
        likelihoods: whether it then gives probabilities; see judging.tells_likelihoods.
        masks: whether it can be asked for masks.
        domain: domain that it declares.
    """

    refers: bool = False
    judges: bool = False
    likelihoods: bool = False
    domain: ModelDomain = "unknown"
    masks: bool = False


class Ask(msgspec.Struct, tag=True, frozen=True):
    """A request to find the objects of phrases; its body is the (height, width, 3) uint8 image."""

    number: Count
    height: Count
    width: Count
    phrases: tuple[NounPhrase, ...]


class Refer(msgspec.Struct, tag=True, frozen=True):
    """A request for the object of a whole phrase; its body is the (height, width, 3) uint8 image."""

    number: Count
    height: Count
    width: Count
    words: str


class JudgeRequest(msgspec.Struct, tag=True, frozen=True):
    """A request for relations between marked objects; its body is the (height, width, 3) uint8 image."""

    number: Count
    height: Count
    width: Count
    questions: tuple[RelationQuestion, ...]
    budget_s: float
    marks: str = BOXES


class WireDetection(msgspec.Struct, frozen=True):
    """One detection; its mask, if it has one, is in the body."""

    id: str
    label: str
    score: float
    box: tuple[float, float, float, float]
    attributes: tuple[str, ...]
    masked: bool
    front: tuple[float, float, float] | None = None
    pointed: bool = False


class MaskRequest(msgspec.Struct, tag=True, frozen=True):
    """A request for masks of objects; its body is the (height, width, 3) uint8 image. The answer is a WorkerReply."""

    number: Count
    height: Count
    width: Count
    objects: tuple[WireDetection, ...]


class WorkerReply(msgspec.Struct, tag=True, frozen=True):
    """The answer to a request; its body is the match matrix (float64), then the masks, one bit per pixel."""

    number: Count
    rows: Count
    columns: Count
    objects: tuple[WireDetection, ...]
    unread: tuple[str, ...] = ()


class Named(msgspec.Struct, frozen=True):
    """One box or point in the answer to a whole phrase."""

    label: str
    box: tuple[float, float, float, float] | None
    point: tuple[float, float] | None
    score: float | None


class Referred(msgspec.Struct, tag=True, frozen=True):
    """The answer to a request for a whole phrase; it has no body."""

    number: Count
    objects: tuple[Named, ...]


class Judged(msgspec.Struct, tag=True, frozen=True):
    """The answer to a request for relations; it has no body."""

    number: Count
    probabilities: tuple[float | None, ...]


FailureKind = Literal["model", "timeout", "input", "unfamiliar", "marks"]


class Failed(msgspec.Struct, tag=True, frozen=True):
    """A failure instead of an answer; number 0 = while loading.

    Args:
        number: number of the request.
        kind: class name of the error.
        words: arguments of the error.
    """

    number: Count
    kind: FailureKind
    words: tuple[str, ...]


ToWorker = Load | Ask | Refer | JudgeRequest | MaskRequest
FromWorker = Ready | WorkerReply | Referred | Judged | Failed


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

    def post(self, header: ToWorker | FromWorker, body: Sequence[memoryview | bytes] = ()) -> None:
        """Append a frame to what `flush` sends. The body's arrays are not copied."""
        parts = [memoryview(part).cast("B") for part in body if len(part)]
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
                    self._begin(*_lengths(self._buffer))
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


def _lengths(lead: memoryview) -> tuple[int, int]:
    magic, header, body = _LEAD.unpack(lead)
    if magic != _MAGIC or not 0 < header <= LONGEST_HEADER or body > LONGEST_BODY:
        raise WireError(f"it sent {bytes(lead)!r} at the beginning of a frame")
    return header + body, header


# ------------------------------------------------------------------------------------------------ questions


def ask(number: int, rgb: Rgb, phrases: Sequence[NounPhrase]) -> tuple[Ask, list[memoryview | bytes]]:
    """Make header and body of a request.

    Raises:
        InputError: `phrases` are not NounPhrases.
        ShapeError: `rgb` is not (H, W, 3) uint8.
    """
    for phrase in phrases:
        if not isinstance(phrase, NounPhrase):
            raise InputError("phrases", type(phrase).__name__, "NounPhrases", "pass what parse() returns")
    body = image_body(rgb)
    header = Ask(number, rgb.shape[0], rgb.shape[1], tuple(phrases))
    try:
        msgspec.msgpack.encode(header)
    except (UnicodeEncodeError, TypeError, OverflowError) as error:
        raise InputError("phrases", str(error), "text and numbers", "pass what parse() returns") from error
    return header, body


def refer(number: int, rgb: Rgb, words: str) -> tuple[Refer, list[memoryview | bytes]]:
    """Make header and body of a request for a whole phrase.

    Raises:
        InputError: `words` are not a text that can be sent.
        ShapeError: `rgb` is not (H, W, 3) uint8.
    """
    body = image_body(rgb)
    header = Refer(number, rgb.shape[0], rgb.shape[1], words)
    try:
        if not isinstance(words, str) or len(words.encode()) > _LONGEST_TEXT:
            raise InputError(
                "words", f"{str(words)[:60]!r}", f"text of {_LONGEST_TEXT} bytes at most", "shorten the text"
            )
    except UnicodeEncodeError as error:
        raise InputError("words", str(error), "text", "remove invalid characters") from error
    return header, body


def judge(
    number: int, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float, marks: str = BOXES
) -> tuple[JudgeRequest, list[memoryview | bytes]]:
    """Make header and body of a request for relations.

    Raises:
        InputError: `questions` are not RelationQuestions, too many, or not plain numbers.
        ShapeError: `rgb` is not (H, W, 3) uint8.
    """
    if len(questions) > MOST_QUESTIONS or not all(isinstance(one, RelationQuestion) for one in questions):
        expected = f"{MOST_QUESTIONS} RelationQuestions at most"
        raise InputError("questions", f"{len(questions)} questions", expected, "ask fewer questions")
    body = image_body(rgb)
    header = JudgeRequest(number, rgb.shape[0], rgb.shape[1], tuple(questions), budget_s, marks)
    try:  # an unreadable request would end the process
        msgspec.msgpack.decode(msgspec.msgpack.encode(header), type=JudgeRequest)
    except (UnicodeEncodeError, TypeError, OverflowError, msgspec.ValidationError) as error:
        raise InputError("questions", str(error), "relations and boxes of plain numbers", "use float") from error
    return header, body


def image_body(rgb: Rgb) -> list[memoryview | bytes]:
    """Turn an image into the body of a request.

    Raises:
        InputError: the image is too large.
        ShapeError: the image is not (H, W, 3) uint8.
    """
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError("rgb", "(H, W, 3) uint8", f"{np.shape(rgb)} {getattr(rgb, 'dtype', type(rgb).__name__)}")
    if rgb.nbytes > LONGEST_BODY:
        raise InputError("rgb", f"{rgb.nbytes} bytes", f"{LONGEST_BODY} at most", "use a smaller image")
    return [np.ascontiguousarray(rgb).data] if rgb.size else []


def image_of(header: Ask | Refer | JudgeRequest | MaskRequest, body: Body) -> Rgb:
    """Return the image of a request, (H, W, 3) uint8, writable.

    Raises:
        WireError: the body does not have the size given in the header.
    """
    if len(body) != header.height * header.width * 3:
        raise WireError(f"an image of {len(body)} bytes for {header.width}x{header.height} pixels")
    return np.frombuffer(body, np.uint8).reshape(header.height, header.width, 3)


def asked(header: Ask, body: Body) -> tuple[Rgb, tuple[NounPhrase, ...]]:
    """Return the image, (H, W, 3) uint8, writable, and the phrases of a request.

    Raises:
        WireError: the body does not have the size given in the header.
    """
    return image_of(header, body), header.phrases


# ------------------------------------------------------------------------------------------------ answers


def found(number: int, grounding: Grounding, size: tuple[int, int]) -> tuple[WorkerReply, list[memoryview | bytes]]:
    """Make header and body of an answer about an image of `size` (height, width), pixels.

    Raises:
        InputError: an element is not a Detection, the match is not a matrix, or there is too much data.
        ShapeError: a mask has another size than the image.
    """
    match = np.ascontiguousarray(grounding.match, np.float64)
    if match.ndim != 2:
        raise ShapeError("match", "(P, N)", str(match.shape))
    objects, masks = [], []
    for one in grounding.detections:
        if not isinstance(one, Detection):
            raise InputError("detections", type(one).__name__, "Detection objects", "build Detection(...) of each")
        if one.mask is not None:
            if one.mask.shape != size:
                raise ShapeError(f"mask of detection {one.id!r}", str(size), str(one.mask.shape))
            masks.append(np.packbits(one.mask).data)
        words = tuple(str(word) for word in one.attributes)
        masked = one.mask is not None
        objects.append(
            WireDetection(
                str(one.id), str(one.label), one.score, one.box_xyxy, words, masked, one.front, bool(one.pointed)
            )
        )
    if match.nbytes + sum(len(mask) for mask in masks) > LONGEST_BODY:
        raise InputError("masks", f"{len(masks)} of them", f"{LONGEST_BODY} bytes at most", "raise the score threshold")
    rows, columns = match.shape
    unread = tuple(str(note)[:_LONGEST_TEXT] for note in grounding.unread)
    return WorkerReply(number, rows, columns, tuple(objects), unread), [*([match.data] if match.size else []), *masks]


def grounding_of(header: WorkerReply, body: Body, size: tuple[int, int]) -> Grounding:
    """Read the grounding of an answer about an image of `size` (height, width), pixels.

    Raises:
        WireError: the body does not have the size given in the header, or a detection is invalid.
    """
    numbers, pixels = header.rows * header.columns, size[0] * size[1]
    step, masked = (pixels + 7) // 8, sum(obj.masked for obj in header.objects)
    if len(body) != numbers * 8 + masked * step:
        raise WireError(f"an answer of {len(body)} bytes for {numbers} numbers and {masked} masks")
    match: npt.NDArray[np.float64] = np.frombuffer(body[: numbers * 8], np.float64).copy()
    bits = np.frombuffer(body[numbers * 8 :], np.uint8)
    detections, at = [], 0
    for obj in header.objects:
        mask = None
        if obj.masked:
            mask = np.unpackbits(bits[at : at + step], count=pixels).view(np.bool_).reshape(size)
            at += step
        try:
            detections.append(
                Detection(obj.id, obj.label, obj.score, obj.box, mask, obj.attributes, obj.front, obj.pointed)
            )
        except InputError as error:
            raise WireError(f"an invalid detection: {error}") from error
    return Grounding(tuple(detections), match.reshape(header.rows, header.columns), header.unread)


def referred(number: int, answer: Sequence[replies.NamedObject]) -> Referred:
    """Make the header of an answer to a whole phrase.

    Raises:
        InputError: an element is not a NamedObject, or there is too much data.
    """
    objects = []
    for one in answer:
        if not isinstance(one, replies.NamedObject):
            raise InputError("objects found", type(one).__name__, "a NamedObject", "build NamedObject(...) of each")
        box = None if one.box_xyxy is None else tuple(float(v) for v in one.box_xyxy)
        point = None if one.point_xy is None else tuple(float(v) for v in one.point_xy)
        score = None if one.score is None else float(one.score)
        objects.append(Named(str(one.label), box, point, score))  # type: ignore[arg-type]  # lengths are checked there
    if len(objects) > MOST_FOUND:
        raise InputError("what was found", f"{len(objects)} objects", f"{MOST_FOUND} at most", "ask for one object")
    return Referred(number, tuple(objects))


def references_of(header: Referred, body: Body) -> tuple[replies.NamedObject, ...]:
    """Read the answer to a whole phrase.

    Raises:
        WireError: it has a body, too many objects, or an invalid number.
    """
    if len(body) or len(header.objects) > MOST_FOUND:
        raise WireError(f"an answer of {len(header.objects)} references and {len(body)} bytes")
    for obj in header.objects:
        numbers = (*(obj.box or ()), *(obj.point or ()), *(() if obj.score is None else (obj.score,)))
        if not all(math.isfinite(number) for number in numbers):
            raise WireError(f"an invalid object for a phrase: {obj}")
    return tuple(replies.NamedObject(t.label, t.box, t.point, t.score) for t in header.objects)


def judgements_of(header: Judged, body: Body, n: int) -> tuple[float | None, ...]:
    """Read the probabilities of an answer to `n` questions about relations.

    Raises:
        WireError: it has a body, a wrong number of probabilities, or an invalid one.
    """
    try:
        if not len(body):
            return check_probabilities(header.probabilities, n, "worker")
    except ModelError as error:
        raise WireError(error.reason) from error
    raise WireError(f"an answer about relations with {len(body)} bytes")


# ------------------------------------------------------------------------------------------------ failures


def failed(number: int, error: Exception) -> Failed:
    """Make the failure message for an error."""
    kind: FailureKind = "model"
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
