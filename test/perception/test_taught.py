# SPDX-License-Identifier: Apache-2.0
"""Objects taught by showing: they get their name in other views, others do not, alike ones are never guessed."""

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_runs import ended, images_of, told

from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.perception import taught_store as store
from spatial_vlm_ros.perception.taught import ShownView, sayable, shown_view
from spatial_vlm_ros.recording.frame_folder import load_frame, write_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Body, Rendering
from spatial_vlm_ros.types import Detection, Resolution, Status

RESOLVER = Resolver()
HERE, ELSEWHERE = (0.0, -0.9, 0.6), (0.25, -0.85, 0.7)
PLACES = {"mug": (-0.25, 0.0), "brick": (0.0, 0.12), "ball": (0.2, -0.05), "tin": (0.05, -0.2), "bottle": (0.3, 0.15)}


def table(tabletop: Any, *more: Body, eye: Any = HERE, without: str = "", **changed: Body) -> Rendering:
    bodies = {
        "mug": tabletop.cup("mug", *PLACES["mug"], colour="purple"),
        "brick": tabletop.block("brick", *PLACES["brick"], (0.16, 0.06, 0.06), colour="yellow"),
        "ball": tabletop.ball("ball", *PLACES["ball"], colour="green"),
        "tin": tabletop.can("tin", *PLACES["tin"], 0.05, 0.07, colour="red"),
        "bottle": tabletop.can("bottle", *PLACES["bottle"], 0.03, 0.2, colour="blue"),
        **changed,
    }
    bodies.pop(without, None)
    seen: Rendering = tabletop.see(*bodies.values(), *more, eye=eye)
    return seen


def view(seen: Rendering, name: str) -> ShownView:
    box = next(one.box_xyxy for one in seen.detections if one.id == name)
    return shown_view(seen.frame, RESOLVER.observe, RESOLVER.config, box=box)[0]


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    return tmp_path / "objects.taught"


def asked(taught: Path, seen: Rendering, words: str, detections: Sequence[Detection] | None = None) -> Resolution:
    config = ResolverConfig(decision=DecisionConfig(taught=str(taught)))
    return Resolver(config).look_at(seen.frame, detections).ask(words).resolution


def at(answer: Resolution) -> str:
    assert answer.target is not None
    assert answer.target.pose is not None
    x, y, _ = answer.target.pose.position
    return min(PLACES, key=lambda name: (PLACES[name][0] - x) ** 2 + (PLACES[name][1] - y) ** 2)


def test_five_taught_objects_are_found_from_elsewhere_without_any_detector(tabletop: Any, taught: Path) -> None:
    shown, seen = table(tabletop), table(tabletop, eye=ELSEWHERE)
    names = {"mug": "bonnet", "brick": "duplo", "ball": "zorb", "tin": "biscuit tin", "bottle": "flask"}
    for body, name in names.items():
        store.teach(taught, name, [view(shown, body)])
    for words, body in (("the bonnet", "mug"), ("the duplo behind the biscuit tin", "brick"), ("the flask", "bottle")):
        answer = asked(taught, seen, words)
        assert answer.status is Status.OK, (words, answer.message)
        assert at(answer) == body


def test_what_was_not_taught_is_not_named_and_what_changed_is_not_either(tabletop: Any, taught: Path) -> None:
    store.teach(taught, "flask", [view(table(tabletop), "bottle")])
    empty = tabletop.can("bottle", 0.3, 0.15, 0.03, 0.2, colour="white")
    lower = tabletop.can("bottle", 0.3, 0.15, 0.03, 0.14, colour="blue")
    for changed in (empty, lower):
        answer = asked(taught, table(tabletop, bottle=changed), "the flask")
        assert answer.status is Status.NOT_FOUND
        assert len(answer.unexplained) == 5


def test_alike_objects_are_said_to_be_alike_and_never_guessed(tabletop: Any, taught: Path) -> None:
    seen = table(tabletop, tabletop.ball("twin", -0.1, -0.2, colour="green"))
    ball, twin = view(seen, "ball"), view(seen, "twin")
    store.teach(taught, "zorb", [ball])
    assert store.taught_objects(taught).alike("kwee", [twin]) == (None, ["zorb"])
    assert store.taught_objects(taught).alike("zorb", [twin]) == (True, [])
    assert store.taught_objects(taught).alike("zorb", [view(seen, "bottle")]) == (False, [])
    store.teach(taught, "kwee", [twin])
    again = table(tabletop, tabletop.ball("twin", -0.1, -0.2, colour="green"), eye=ELSEWHERE)
    for words in ("the zorb", "the kwee"):
        answer = asked(taught, again, words)
        assert answer.status in (Status.AMBIGUOUS, Status.LOW_CONFIDENCE)
        assert {one.label for one in answer.candidates} <= {"kwee or zorb", "zorb or kwee"}


def test_a_taught_name_wins_over_a_class_name_and_the_class_name_still_fits(tabletop: Any, taught: Path) -> None:
    seen = table(tabletop, eye=ELSEWHERE)
    store.teach(taught, "bonnet", [view(table(tabletop), "mug")])
    for words in ("the bonnet", "the cup", "the bonnet left of the ball"):
        answer = asked(taught, seen, words, seen.detections)
        assert answer.status is Status.OK
        assert answer.target is not None
        assert (answer.target.id, answer.target.label) == ("mug", "bonnet")
    found = [one for one in seen.detections if one.id != "mug"]
    answer = asked(taught, seen, "the bonnet left of the ball", found)
    assert answer.target is not None
    assert (answer.target.id, at(answer)) == ("taught_1", "mug")


def test_the_thing_that_was_put_down_is_the_new_one(tabletop: Any) -> None:
    before, after = table(tabletop, without="bottle"), table(tabletop)
    seen, alone = shown_view(after.frame, RESOLVER.observe, RESOLVER.config, before=before.frame)
    assert alone
    assert seen.size == pytest.approx(view(after, "bottle").size)


FAULTS: tuple[tuple[str, Callable[[Rendering, Any], dict[str, Any]], str], ...] = (
    ("several", lambda *_: {}, "5 in view"),
    ("bare table", lambda *_: {"at": (5.0, 470.0)}, "nothing at 5,470"),
    ("outside", lambda *_: {"at": (5000.0, 470.0)}, "nothing at 5000,470"),
    ("nothing new", lambda seen, _: {"before": seen.frame}, "nothing newly put down"),
    ("moved", lambda _, tabletop: {"before": table(tabletop, eye=ELSEWHERE).frame}, "most of it differs"),
)


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_what_is_shown_must_be_one_whole_thing(change: Any, says: str, tabletop: Any) -> None:
    seen = table(tabletop)
    with pytest.raises(InputError, match=says):
        shown_view(seen.frame, RESOLVER.observe, RESOLVER.config, **change(seen, tabletop))


def test_what_is_hidden_or_touches_something_is_not_learnt(tabletop: Any) -> None:
    far = tabletop.block("far", -0.1, 0.45, (0.2, 0.06, 0.1))
    half = table(tabletop, far, tabletop.block("near", -0.03, 0.33, (0.16, 0.06, 0.12)))
    beside = table(tabletop, tabletop.block("beside", 0.17, 0.15, (0.2, 0.05, 0.2)))
    for seen, name in ((half, "far"), (beside, "bottle")):
        with pytest.raises(InputError, match=r"reaches out of|in the box|hides"):
            view(seen, name)


@pytest.mark.parametrize(
    "name", ["", " ", "left one", "stop", "the thing", "cup behind the box", "x" * 61, "a\x1b[2Jb"]
)
def test_a_name_must_be_sayable(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        sayable(name)


def test_views_are_kept_renamed_exported_and_forgotten(tabletop: Any, taught: Path, tmp_path: Path) -> None:
    one, other = view(table(tabletop), "mug"), view(table(tabletop, eye=ELSEWHERE), "mug")
    store.teach(taught, " Red  MUG ", [one] * store.MOST_VIEWS)
    store.teach(taught, "red mug", [other])
    store.teach(taught, "flask", [one])
    flask, mug = store.kept_objects(taught)
    assert (flask.name, mug.name, len(mug.views)) == ("flask", "red mug", store.MOST_VIEWS)
    assert mug.views[-1].numbers.tolist() == other.numbers.tolist()
    assert (mug.views[-1].local == other.local).all()
    store.rename(taught, "Red Mug", "bonnet")
    store.export(taught, tmp_path / "one.taught", ["bonnet"])
    store.forget(taught, "bonnet")
    assert [one.name for one in store.kept_objects(taught)] == ["flask"]
    assert store.taught_objects(tmp_path / "one.taught").names == ("bonnet",)
    store.teach(taught, "bonnet", [one])
    with pytest.raises(InputError, match="no taught object has"):
        store.rename(taught, "bonnet", "flask")


def filled(path: Path, *lines: str) -> None:
    with sqlite3.connect(path) as database:
        for line in lines:
            database.execute(line)
    database.close()


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), "Teach an object first"),
    "empty": (lambda path: path.write_bytes(b""), "no store"),
    "text": (lambda path: path.write_text("hello" * 1000), "not a database"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:9000]), "malformed|damaged"),
    "of another version": (lambda path: filled(path, "PRAGMA user_version = 2"), "version 2, not 1"),
    "another database": (lambda path: filled(path, "PRAGMA application_id = 7"), "no store of taught objects"),
    "a changed view": (lambda path: filled(path, "UPDATE views SET numbers = zeroblob(68)"), "damaged view"),
    "a short view": (lambda path: filled(path, "UPDATE views SET numbers = x'00'"), "damaged view"),
    "a text for a view": (lambda path: filled(path, "UPDATE views SET numbers = 'abc'"), "damaged|bytes"),
    "a view more than are kept": (
        lambda path: filled(path, *["INSERT INTO views SELECT NULL, object, 0, numbers, local, crc FROM views"] * 4),
        "more than 8 views",
    ),
    "an object without views": (lambda path: filled(path, "DELETE FROM views"), "1 objects, 0 of them with views"),
    "a view of endless data": (
        lambda path: filled(path, "ALTER TABLE views RENAME TO old", "CREATE VIEW views AS SELECT 1"), "a view",
    ),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "a folder"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_store_that_is_damaged_is_refused(damage: str, tabletop: Any, taught: Path) -> None:
    store.teach(taught, "flask", [view(table(tabletop), "bottle")])
    change, says = DAMAGE[damage]
    change(taught)
    with pytest.raises(FileError, match=says):
        store.taught_objects(taught)
    assert asked(taught, table(tabletop), "the flask").status is Status.INVALID_INPUT


def test_a_failed_change_leaves_the_store_as_it_was(
    tabletop: Any, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = view(table(tabletop), "mug")
    store.teach(taught, "flask", [one])
    before = taught.read_bytes()
    bad = dataclasses.replace(one, numbers=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        store.teach(taught, "bonnet", [one, bad])
    for fails in (partial(store.forget, taught, "bonnet"), partial(store.rename, taught, "bonnet", "hat")):
        with pytest.raises(SpatialVlmError, match="bonnet"):
            fails()
    monkeypatch.setattr(store, "MOST_OBJECTS", 1)
    with pytest.raises(InputError, match="Forget some"):
        store.teach(taught, "bonnet", [one])
    assert taught.read_bytes() == before


def test_a_store_that_changes_is_read_anew(tabletop: Any, taught: Path) -> None:
    seen = table(tabletop)
    store.teach(taught, "flask", [view(seen, "bottle")])
    resolver = Resolver(ResolverConfig(decision=DecisionConfig(taught=str(taught))))
    assert resolver.resolve(seen.frame, "the flask").status is Status.OK
    store.rename(taught, "flask", "bonnet")
    assert resolver.resolve(seen.frame, "the flask").status is Status.NOT_FOUND
    assert resolver.resolve(seen.frame, "the bonnet").status is Status.OK


def test_the_profile_of_a_detector_says_nothing_of_taught_names(tabletop: Any, taught: Path, tmp_path: Path) -> None:
    store.teach(taught, "flask", [view(table(tabletop), "bottle")])
    doubtful = {"schema": 1, "model": "any", "slope": 0.0, "offset": -5.0, "recall": 0.1, "labels": {}}
    (tmp_path / "profile.json").write_text(json.dumps(doubtful), encoding="utf-8")
    decision = DecisionConfig(taught=str(taught), profile=str(tmp_path / "profile.json"))
    frame = table(tabletop, eye=ELSEWHERE).frame
    assert Resolver(ResolverConfig(decision=decision)).resolve(frame, "the flask").status is Status.OK


def test_a_scene_that_was_lifted_before_keeps_its_names(tabletop: Any, taught: Path) -> None:
    seen = table(tabletop)
    store.teach(taught, "flask", [view(seen, "bottle")])
    resolver = Resolver(ResolverConfig(decision=DecisionConfig(taught=str(taught))))
    scene = resolver.observe(seen.frame, [one for one in seen.detections if one.id != "bottle"])
    assert resolver.answer(scene, "the ball").status is Status.OK
    assert resolver.answer(scene, "the flask").status is Status.NOT_FOUND


def test_commands_teach_list_and_resolve(tabletop: Any, taught: Path, tmp_path: Path) -> None:
    for name, eye in (("f1", HERE), ("f2", ELSEWHERE)):
        write_frame(tmp_path / name, table(tabletop, eye=eye).frame)
    one, two = tmp_path / "f1", tmp_path / "f2"
    file = ("--taught", taught)
    ended("teach", "bonnet", one, *file, code=3, says="5 in view; objects stand at")
    x0, y0, x1, y1 = next(o.box_xyxy for o in table(tabletop).detections if o.id == "mug")
    pixel = f"{(x0 + x1) / 2},{(y0 + y1) / 2}"
    ended("teach", "bonnet", one, *file, "--at", pixel, says="bonnet: 1 view, 8")
    ended("teach", "hat", one, *file, "--at", pixel, says="it looks like 'bonnet', too")
    ended("teach", "hat", *file, "--forget", says="hat is forgotten")
    assert [each["name"] for each in told("teach", "--list", *file)["objects"]] == ["bonnet"]
    assert told("resolve", "the bonnet", *images_of(two), *file)["target"]["label"] == "bonnet"
    ended("resolve", "the bonnet", *images_of(two), code=2, says="or --taught")
    for wrong in (("bonnet",), ("--forget",), ("bonnet", one, "--list"), ("bonnet", one, "--at", "1"),
                  ("bonnet", one, "--put-down"), ("bonnet", one, "--at", "1,2", "--at", "3,4")):  # fmt: skip
        ended("teach", *wrong, *file, code=2)
    ended("teach", "hut", *file, "--forget", code=3, says="bonnet")
    ended("teach", "--export", taught, *file, code=2)


def test_an_empty_store_names_nothing(tabletop: Any, taught: Path) -> None:
    assert (store.make(taught), store.make(taught)) == (True, False)
    assert asked(taught, table(tabletop), "the bonnet").status is Status.NOT_FOUND


@pytest.mark.parametrize(("teaching", "pixel", "asking", "statuses"), [
    ("f02", (352.0, 93.0), "f03", {Status.OK}),
    ("f03", (145.0, 270.0), "f02", {Status.OK, Status.NOT_FOUND, Status.LOW_CONFIDENCE}),
    ("f02", (352.0, 93.0), "f06", {Status.NOT_FOUND}),
    ("f02", (352.0, 93.0), "f07", {Status.NOT_FOUND}),
])  # fmt: skip
def test_a_real_cup_is_found_on_another_frame_and_nothing_else_is(
    real_frames: Path, taught: Path, teaching: str, pixel: Any, asking: str, statuses: set[Status]
) -> None:
    frame, _ = load_frame(real_frames / teaching)
    store.teach(taught, "bonnet", [shown_view(frame, RESOLVER.observe, RESOLVER.config, at=pixel)[0]])
    other, detections = load_frame(real_frames / asking)
    config = ResolverConfig(decision=DecisionConfig(taught=str(taught)))
    answer = Resolver(config).look_at(other, None).ask("the bonnet").resolution
    assert answer.status in statuses
    if answer.target is not None:
        beside = Resolver(config).look_at(other, detections).ask("the bonnet").resolution
        assert beside.target is not None
        assert next(one.label for one in detections if one.id == beside.target.id) == "cup"
