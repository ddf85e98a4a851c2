# SPDX-License-Identifier: Apache-2.0
"""What goes between a grounder and its process; how a backend is found by its name, and given its options."""

import math
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import worker_models
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ModelError, ShapeError, UnknownNameError
from spatial_vlm_ros.perception import backends, load_grounder, parse_options
from spatial_vlm_ros.perception import worker_wire as wire
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import MOST_QUESTIONS, RelationQuestion
from spatial_vlm_ros.perception.referring import MOST_FOUND
from spatial_vlm_ros.types import Detection

TABLES = tables(__file__)

SIZE = (48, 64)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
A, B = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 160.0, 170.0)
POINTS = (NamedObject("", None, (0.0, 0.0), None),) * (MOST_FOUND + 1)
OBJECT = {"id": "a", "label": "cup", "score": 0.5, "box_xyxy": (0.0, 0.0, 1.0, 1.0)}


def answered(value: object, body: bytes = b"", number: int = 1) -> bytes:
    """A frame with an answer, which may not be one."""
    return framed(wire.WorkerReply(number, msgspec.Raw(msgspec.msgpack.encode(value))), body)


def named(*values: Any) -> bytes:
    return answered([NamedObject("", *values, *(None,) * (3 - len(values)))])


def grounded(rows: int, columns: int, *objects: dict[str, Any]) -> dict[str, Any]:
    return {"detections": objects, "match": {"shape": (rows, columns)}}


def framed(header: object, body: bytes = b"", header_size: int | None = None, body_size: int | None = None) -> bytes:
    """A frame that may lie about its sizes."""
    encoded = header if isinstance(header, bytes) else msgspec.msgpack.encode(header)
    lead = wire._LEAD.pack(b"SVG1", header_size or len(encoded), body_size or len(body))
    return lead + encoded + body


def received(frame: bytes, method: str = "ground", n: int = 1) -> Any:
    """What an owner makes of a frame that answers a call."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame)
        theirs.shutdown(socket.SHUT_WR)
        header, body = wire.Channel(ours, wire.FromWorker).receive()  # type: ignore[misc]
    return wire.answer_of(method, header, body, SIZE, n)


def passed_on(method: str, value: object, size: tuple[int, int] = SIZE, n: int = 1) -> Any:
    """An answer as the owner gets it."""
    header, body = wire.reply(1, wire.checked(method, value, size, n, "m"))
    with socket.socket() as unused:
        channel = wire.Channel(unused, wire.WorkerCall)
        channel.post(header, body)
    return wire.answer_of(method, header, memoryview(b"".join(channel._unsent[1:])), size, n)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"Traceback (most recent call last)", "at the beginning of a frame"),
        (framed(b"", header_size=1 << 31), "at the beginning of a frame"),
        (framed(b"x", body_size=1 << 60), "at the beginning of a frame"),
        (framed(b""), "at the beginning of a frame"),
        (framed(b"\xc1\xc1"), "wrong form"),
        (framed({"type": "WorkerReply", "number": "one"}), "wrong form"),
        (framed(b"\x91" * 100_000), "wrong form"),
        (answered([]), "wrong form"),
        (answered({"detections": [], "match": 3}), "wrong form"),
        (answered(grounded(-1, -1)), "wrong form"),
        (answered(grounded(1 << 31, 1 << 31), bytes(64)), r"an array of \d+ bytes, with 64 left"),
        (answered(grounded(1, 1, OBJECT), b"1234"), "an array of 8 bytes, with 4 left"),
        (answered(grounded(1, 1, OBJECT), bytes(12)), "4 bytes more than its arrays"),
        (answered({"detections": [], "match": {"shape": [3]}}, bytes(24)), "match"),
        (answered(grounded(0, 0, {**OBJECT, "mask": {"shape": SIZE}})), "an array of 384 bytes, with 0 left"),
        (answered(grounded(0, 0, {**OBJECT, "mask": {"shape": SIZE}}), bytes(384)), "no pixel is set"),
        (answered(grounded(0, 0, {**OBJECT, "mask": {"shape": (2, 2)}}), b"\xf0"), r"a mask of \(2, 2\)"),
        (answered(grounded(0, 0, {**OBJECT, "box_xyxy": (5.0, 5.0, 1.0, 1.0)})), "box of detection 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused(frame: bytes, words: str) -> None:
    with pytest.raises(wire.WireError, match=words):
        received(frame)


def test_nothing_found_and_a_request_for_a_phrase_and_its_answer_are_the_same_after_the_wire() -> None:
    able = wire.Abilities(("ground", "judge"), True, "simulated")
    assert passed_on("load", able) == able
    again = passed_on("ground", Grounding((), np.zeros((3, 0))), (4, 4))
    assert (again.detections, again.match.shape) == ((), (3, 0))
    request, image = wire.call(7, "refer", IMAGE, "the cup")
    sent = msgspec.msgpack.Decoder(wire.WorkerCall).decode(msgspec.msgpack.encode(request))
    assert (sent.number, sent.method, wire.arguments_of(sent)) == (7, "refer", ("the cup",))
    assert np.array_equal(wire.image_of(sent, memoryview(bytes(image[0]))), IMAGE)
    found = (NamedObject("can", (0, 1, 2, 3.5), None, None), NamedObject("both", (0, 0, 1, 1), (0.5, 0.5), 0.25))
    assert passed_on("refer", found) == found
    numpys = NamedObject("can", np.array([0, 1, 2, 3.5]), None, np.float32(0.5))  # type: ignore[arg-type]
    assert passed_on("refer", (numpys,)) == (replace(found[0], score=0.5),)
    with pytest.raises(wire.WireError, match="bytes for 64x48"):
        wire.image_of(request, memoryview(bytes(image[0]))[:-1])


def test_nothing_found_is_an_answer() -> None:
    assert passed_on("ground", Grounding((), np.zeros((2, 0)))).match.shape == (2, 0)


def test_a_request_for_masks_keeps_every_field() -> None:
    box = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
    point = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
    front = Detection("f", "chair", 0.5, (1.0, 2.0, 3.0, 4.0), None, ("red",), (0.0, 0.0, 1.0))
    header, body = wire.call(7, "masked", IMAGE, (box, point, front))
    assert [vars(one) for one in wire.arguments_of(header)[0]] == [vars(one) for one in (box, point, front)]
    assert (header.number, header.height, header.width) == (7, *SIZE)
    assert sum(part.nbytes for part in body) == IMAGE.nbytes
    mask = np.zeros(SIZE, np.bool_)
    mask[10:30, 10:30] = True
    made, other = passed_on("masked", (replace(box, mask=mask), front))
    np.testing.assert_array_equal(made.mask, mask)
    assert vars(other) == vars(front)


def question(box: Any = A) -> tuple[RelationQuestion]:
    return (RelationQuestion("left of", box, B),)


NO_BOXES: list[Any] = [
    np.array(A), tuple(np.float32(one) for one in A), tuple(np.int64(one) for one in A), tuple(map(np.float64, A)),
    A[:3], (*A, 1.0), tuple(map(str, A)), (None,) * 4, (True, *A[1:]), 3, (10**400, *A[1:]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "arguments", "error", "words"),
    [
        (wire.call, (1, "refer", IMAGE, "x" * 5000), InputError, "words"),
        (wire.call, (1, "refer", IMAGE, "\ud800"), InputError, "words"),
        (wire.call, (1, "refer", IMAGE, 3), InputError, "words"),
        (wire.call, (1, "refer", IMAGE[..., 0], "the cup"), ShapeError, "rgb"),
        (wire.call, (1, "masked", IMAGE, ("cup",)), InputError, "detections"),
        (wire.call, (1, "judge", IMAGE, question(), np.float64(5.0), "boxes"), InputError, "questions"),
        (wire.call, (1, "judge", IMAGE, ("left of",), 5.0, "boxes"), InputError, "questions"),
        (wire.call, (1, "judge", IMAGE, question() * (MOST_QUESTIONS + 1), 5.0, "boxes"), InputError, "questions"),
        (passed_on, ("refer", POINTS), InputError, "1001 objects"),
        (received, (answered([msgspec.to_builtins(POINTS[0])] * 1001), "refer"), wire.WireError, "1001 objects"),
        (received, (answered([], b"abc"), "refer"), wire.WireError, "3 bytes"),
        (received, (named((0.0, 0.0, math.nan, 1.0), None), "refer"), wire.WireError, "an object found"),
        (received, (named(None, (math.inf, 0.0)), "refer"), wire.WireError, "an object found"),
        (received, (named(None, (0.0, 0.0), math.nan), "refer"), wire.WireError, "an object found"),
        (received, (answered([0.5, 7.0]), "judge", 2), wire.WireError, "it judged 2 relations"),
        (received, (answered([0.5]), "judge", 2), wire.WireError, "it judged 2 relations"),
        *((wire.call, (1, "judge", IMAGE, question(box), 5.0, "boxes"), InputError, "questions") for box in NO_BOXES),
        (wire.error_of, (wire.Failed(1, "model", ()), "m"), wire.WireError, "model with 0 words"),
        (wire.arguments_of, (wire.WorkerCall(1, "ground", msgspec.Raw(b"\x91\xc0")),), wire.WireError, "wrong form"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_or_read_is_refused(
    call: Callable[..., Any], arguments: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(*arguments)


def test_a_plug_in_is_loaded_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "someones_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-models\nVersion: 1.0\n")
    named = "obedient = worker_models:Obedient\nbroken = no_such_module:load"
    (info / "entry_points.txt").write_text(f"[spatial_vlm_ros.grounders]\n{named}\n")
    monkeypatch.syspath_prepend(tmp_path)
    grounder = load_grounder("obedient", {"greeting": "hello"})
    assert isinstance(grounder, worker_models.Obedient)
    assert grounder.greeting == "hello"
    with pytest.raises(ModelError, match=r"No module named 'no_such_module'.*Install"):
        load_grounder("broken")
    with pytest.raises(UnknownNameError, match=r"broken, .*obedient") as failure:
        load_grounder("obediant")
    assert failure.value.available[-1] == '"module.path:function" of your own'


def test_code_of_the_users_own_is_loaded_by_its_path_and_a_backend_of_the_table_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "mine", "worker_models:Obedient")
    for name in ("worker_models:Obedient", "mine"):
        assert isinstance(load_grounder(name), worker_models.Obedient)
    found = load_grounder("worker_models:chicks").ground(np.zeros((480, 640, 3), np.uint8), [])
    assert [d.id for d in found.detections] == ["bonnet", "ribbon", "cup", "box"]


@pytest.mark.parametrize("name", ["", ":", "a:", ":b", "a b:c", "../evil:load", "a:b()", "a..b:c", "worker_models"])
def test_what_is_no_name_of_a_backend_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="grounder"):
        load_grounder(name)


@pytest.mark.parametrize(("name", "options", "error", "words"), TABLES["a backend that cannot be loaded"])
def test_a_backend_that_cannot_be_loaded_so_is_refused_with_what_to_do(
    name: str, options: dict[str, str], error: str, words: str
) -> None:
    with pytest.raises(getattr(errors, error), match=words) as failure:
        load_grounder(name, options)
    assert failure.value.repair  # type: ignore[attr-defined]


def test_options_are_read_as_a_shell_would() -> None:
    assert parse_options("") == parse_options("  ") == {}
    assert parse_options("seed=3 width=640") == {"seed": "3", "width": "640"}
    assert parse_options("path='my weights' url=http://x/?a=b empty=") == {
        "path": "my weights",
        "url": "http://x/?a=b",
        "empty": "",
    }


@pytest.mark.parametrize("text", ["seed", "seed =3", "=3", "a-b=1", "seed=3 seed=4", "path='my", "1a=2", "a\\"])
def test_options_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="grounder options"):
        parse_options(text)
