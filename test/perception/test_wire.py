# SPDX-License-Identifier: Apache-2.0
"""What goes between a grounder and its process; how a backend is found by its name, and given its options."""

import math
import struct
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
SMALL = Detection("a", "cup", 1.0, (0, 0, 5, 5), np.ones((3, 3), bool))
OBJECT = {"id": "a", "label": "cup", "score": 0.5, "box_xyxy": (0.0, 0.0, 1.0, 1.0)}


def framed(message: bytes, length: int | None = None) -> bytes:
    return struct.pack("!i", len(message) if length is None else length) + message


def answered(value: object, number: int = 1) -> bytes:
    return framed(wire.message(number, "answer", value))


def grounded(shape: tuple[int, ...], data: bytes = b"", *objects: dict[str, Any]) -> dict[str, Any]:
    return {"detections": objects, "match": (shape, data)}


def masked(*mask: object) -> bytes:
    return answered(grounded((0, 0), b"", {**OBJECT, "mask": mask}))


def named(*values: Any) -> bytes:
    return answered([NamedObject("", *values, *(None,) * (3 - len(values)))])


def received(sent: bytes, method: str = "ground", n: int = 1) -> Any:
    return wire.answer_of(method, wire.decoded(sent[4:], wire.Message)[2], SIZE, n)


def passed_on(method: str, value: object, size: tuple[int, int] = SIZE, n: int = 1) -> Any:
    told = wire.answer(1, wire.checked(method, value, size, n, "m"))
    return wire.answer_of(method, wire.decoded(told, wire.Message)[2], size, n)


def asked(*call: Any) -> tuple[Any, ...]:
    sent, image = wire.call(1, *call)
    size, arguments = wire.arguments_of(*wire.decoded(sent, wire.Message)[1:])
    np.testing.assert_array_equal(np.frombuffer(image, np.uint8).reshape(*size, 3), call[1])
    return arguments


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (framed(b""), "wrong form"),
        (framed(b"\xc1\xc1"), "wrong form"),
        (framed(msgspec.msgpack.encode([1, "answer"])), "wrong form"),
        (framed(msgspec.msgpack.encode(["one", "answer", []])), "wrong form"),
        (framed(b"\x91" * 100_000), "wrong form"),
        (answered([]), "wrong form"),
        (answered({"detections": [], "match": 3}), "wrong form"),
        (answered(grounded((-1, -1))), "wrong form"),
        (answered(grounded((1 << 31, 1 << 31), bytes(64))), "an array of shape .* in 64 bytes"),
        (answered(grounded((1, 1), b"1234", OBJECT)), "in 4 bytes"),
        (answered(grounded((3,), bytes(24))), "match"),
        (masked(SIZE, b""), "in 0 bytes"),
        (masked(SIZE, bytes(384)), "no pixel is set"),
        (masked((2, 2), b"\xf0"), r"mask of detection 'a'.*\(2, 2\)"),
        (answered(grounded((0, 0), b"", {**OBJECT, "box_xyxy": (5.0, 5.0, 1.0, 1.0)})), "box of detection 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused(sent: bytes, words: str) -> None:
    with pytest.raises(wire.WireError, match=words):
        received(sent)


def test_requests_and_answers_are_the_same_after_the_wire() -> None:
    able = wire.Abilities(("ground", "judge"), True, "simulated")
    assert passed_on("load", able) == able
    nothing = passed_on("ground", Grounding((), np.zeros((3, 0))), (4, 4))
    assert (nothing.detections, nothing.match.shape) == ((), (3, 0))
    assert asked("refer", IMAGE[::-1], "the cup") == ("the cup",)
    found = (NamedObject("can", (0, 1, 2, 3.5), None, None), NamedObject("both", (0, 0, 1, 1), (0.5, 0.5), 0.25))
    assert passed_on("refer", found) == found
    numpys = NamedObject("can", np.array([0, 1, 2, 3.5]), None, np.float32(0.5))  # type: ignore[arg-type]
    assert passed_on("refer", (numpys,)) == (replace(found[0], score=0.5),)
    box = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
    point = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
    front = Detection("f", "chair", 0.5, (1.0, 2.0, 3.0, 4.0), None, ("red",), (0.0, 0.0, 1.0))
    assert [vars(one) for one in asked("masked", IMAGE, (box, point, front))[0]] == [*map(vars, (box, point, front))]
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
        *((wire.call, (1, "judge", IMAGE, question(box), 5.0, "boxes"), InputError, "questions") for box in NO_BOXES),
        (passed_on, ("ground", Grounding((), np.zeros(3))), ShapeError, r"\(P, N\)"),
        (passed_on, ("ground", Grounding((SMALL,), np.ones((1, 1)))), ShapeError, "mask of detection 'a'"),
        (passed_on, ("ground", Grounding(("cup",), np.zeros((1, 1)))), InputError, "str"),  # type: ignore[arg-type]
        (passed_on, ("ground", None), AttributeError, "match"),
        (passed_on, ("refer", POINTS), ModelError, "1001 objects"),
        (received, (answered([msgspec.to_builtins(POINTS[0])] * 1001), "refer"), wire.WireError, "1001 objects"),
        (received, (named((0.0, 0.0, math.nan, 1.0), None), "refer"), wire.WireError, "not a place"),
        (received, (named(None, (math.inf, 0.0)), "refer"), wire.WireError, "not a place"),
        (received, (named(None, (0.0, 0.0), math.nan), "refer"), wire.WireError, "not a place"),
        (received, (answered([0.5, 7.0]), "judge", 2), wire.WireError, "it judged 2 relations"),
        (received, (answered([0.5]), "judge", 2), wire.WireError, "it judged 2 relations"),
        (wire.error_of, ("model", msgspec.Raw(b"\x90"), "m"), wire.WireError, "wrong form"),
        (wire.error_of, ("call", msgspec.Raw(b"\x90"), "m"), wire.WireError, "a reply of kind 'call'"),
        (wire.arguments_of, ("ground", msgspec.Raw(b"\x91\xc0")), wire.WireError, "wrong form"),
        (wire.arguments_of, ("load", msgspec.Raw(b"\x90")), wire.WireError, "a call of 'load'"),
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


def test_own_code_is_loaded_by_its_path_and_a_backend_of_the_table_first(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_backend_that_cannot_be_loaded_is_refused(name: str, options: dict[str, str], error: str, words: str) -> None:
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
