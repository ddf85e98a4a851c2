# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/figures.md about answers: data sets, what is missing, ambiguous words, dialogues, positions."""

from __future__ import annotations

from functools import partial

from scripts.figure_rows import Cells, Count, Json, ResultRun, Row, counted, read, share

NO, YES, HELD_OUT, GUESS = "no", "yes", "held out", "a guess"


def _errors(wrong: Count, needless: Count, posed: Count, developed: str) -> tuple[str, ...]:
    """The three error shares, and whether the data was used in development."""
    return share(wrong), share(needless), share(posed), developed


def _of_due(right: Count, wrong: Count, posed: Count, developed: str) -> tuple[str, ...]:
    """The same where right and wrong answers are counted among the same questions."""
    return _errors(wrong, (right[1] - right[0] - wrong[0], right[1]), posed, developed)


def _generated(result: Json) -> tuple[str, ...]:
    answered, right = counted(result["coverage"]), counted(result["right_of_answers"])
    due = answered[1]
    return _errors((right[1] - right[0], due), (due - answered[0], due), counted(result["pose_on_refusal"]), NO)


def _settled(result: Json) -> tuple[str, ...]:
    asked = result["questions"]
    given, due = counted(asked["right_of_answers"]), asked["right_of_all_that_have_an_answer"]["n"]
    needless = counted(asked["refused_of_all_that_have_an_answer"])
    return _errors((given[1] - given[0], due), needless, counted(asked["pose_where_nothing_fits"]), NO)


def _constructed(result: Json) -> tuple[str, ...]:
    clear = result["scores"]["outside_the_band"]
    parts = ("right_of_answerable", "wrong_pose_of_answerable", "pose_where_to_be_refused")
    return _of_due(*(counted(clear[part]) for part in parts), NO)


def _compact(mass: str, result: Json) -> tuple[str, ...]:
    asked = result["questions"][mass]
    answered, right = counted(asked["all"]["answered"]), counted(asked["all"]["right"])
    due = answered[1]
    posed = counted(asked["pose_where_nothing_fits"]["answered"])
    return _errors((answered[0] - right[0], due), (due - answered[0], due), posed, NO)


def _folder(name: str, developed: str, result: Json) -> tuple[str, ...]:
    scores = result["folders"][name]["nothing"]
    return _of_due(*(counted(scores[part]) for part in ("right", "wrong", "pose_where_refusal_due")), developed)


def _guess(name: str, guess: str, result: Json) -> tuple[str, ...]:
    scores = result["folders"][name]["guesses"][guess]
    parts = ("coverage", "wrong_of_due", "pose_where_refusal_due")
    return _of_due(*(counted(scores[part]) for part in parts), GUESS)


def _condition(name: str, result: Json) -> tuple[str, ...]:
    counted = result["answers"][name]
    right, wrong, needless = (counted.get(kind, 0) for kind in ("right", "wrong", "needlessly refused"))
    due = right + wrong + needless
    posed = counted.get("answered where it must refuse", 0)
    must = posed + counted.get("rightly refused", 0)
    return share((wrong, due)), share((needless, due)), share((posed, must))


def _believed(pair: str, result: Json) -> tuple[str, ...]:
    found = result["sets"][pair]
    parts = ("wrong_of_asked", "right_of_due", "right_of_sure")
    bins = [one for one in found["reliability"] if one["confidence"] >= 0.01]
    stated = [f"{one['confidence']:.2f}: {one['right']['k']}/{one['right']['n']}" for one in bins]
    return *(share(counted(found[part])) for part in parts), ", ".join(stated) or "all below 0.01"


def _dialogues(group: str, result: Json) -> tuple[str, ...]:
    scores = result["groups"][group]
    return share(counted(scores["right"])), str(scores["wrong"])


def _place(path: tuple[str, ...], result: Json, median: str = "median", p95: str = "p95") -> tuple[str, ...]:
    found = read(result, *path)
    return f"{found['n']:,}", f"{found[median]} mm", f"{found[p95]} mm"


def _kind(*path: str) -> Cells:
    return lambda result: (share(counted(read(result, *path))),)


# ------------------------------------------------------------------------------------------------ rows

_GENERATED, _SIMULATED, _MODEL = ResultRun("accuracy"), ResultRun("simulator", "--seeds 200"), ResultRun("compact")
_BENCH = ResultRun("constructed", "", "constructed_bench")
_BOTH = ResultRun("constructed", "--first-seed 120000 --items 26 --name both --with constructed", "constructed_both")
_DEPTH = ResultRun(
    "constructed",
    '--first-seed 300000 --items 7000 --only behind --only "in front of" --only near --only "far from" --name depth',
    "constructed_depth",
)
_STEREO = ResultRun(
    "constructed", "--first-seed 120000 --items 14 --noise stereo --errors", "constructed_stereo_errors"
)
_TOF = ResultRun("constructed", "--first-seed 130000 --items 14 --noise tof --errors", "constructed_tof_errors")
_SETS, _CAUTION = ResultRun("capabilities", "--frames DIR …"), ResultRun("caution", "--frames DIR …")
_FORMS = ResultRun("detection_forms")
_OUTSIDE, _REAL = (
    ResultRun("detection_forms", "--frames DIR", f"detection_forms_{name}") for name in ("outside", "real_rgbd")
)
_EARLIER = "by the version before contrast, parts and contact"
ACCURACY = (
    Row(
        "generated tabletops",
        _GENERATED,
        "200 random tabletops of boxes, cylinders, balls and hollow cylinders, "
        "sensor noise, half of them with boxes alone; clear by 2 cm or more",
        _generated,
    ),
    Row(
        "settled tabletops",
        _SIMULATED,
        "200 tabletops of about nine meshes that settled in MuJoCo, stereo-like noise, masks of the simulator",
        _settled,
    ),
    Row(
        "constructed, exact depth",
        _BENCH,
        "scenes and sentences that share no code with the package, exact depth "
        "and masks; the command writes `constructed.json`, kept under this name; "
        "[evaluation.md](evaluation.md#constructed-scenes) says what the wrong answers were",
        _constructed,
    ),
    Row("constructed, earlier version", _BOTH, f"the same generator at other seeds; {_EARLIER}", _constructed),
    Row(
        "constructed, depth relations",
        _DEPTH,
        f"behind, in front of, near and far from, exact depth; {_EARLIER}",
        _constructed,
    ),
    Row(
        "constructed, stereo, errors",
        _STEREO,
        f"stereo noise and an erring detector; of the questions whose answer the detector left in place; {_EARLIER}",
        _constructed,
    ),
    Row("constructed, ToF, errors", _TOF, f"the same with time-of-flight noise; {_EARLIER}", _constructed),
    Row(
        "compact model, default",
        _MODEL,
        "the compact model finds the objects, 300 settled worlds that it has not seen; `decision.mass` 0.8 (default)",
        partial(_compact, "0.8"),
    ),
    Row("compact model, mass 0.6", _MODEL, "the same with `decision.mass` 0.6", partial(_compact, "0.6")),
    Row(
        "real frames",
        _SETS,
        "8 RGB-D frames of four sensors' data sets, detections by hand, no transform; the frames do not ship",
        partial(_folder, "real_rgbd", YES),
    ),
    Row(
        "rendered, development set",
        _SETS,
        "51 rendered frames of objects from public repositories, spoken-style "
        "instructions; like all rendered frames they do not ship, and the file was made before the last change of "
        "words",
        partial(_folder, "outside", YES),
    ),
    Row("rendered, ravens", _SETS, "objects of google-research/ravens", partial(_folder, "ravens", YES)),
    Row("rendered, VIMABench", _SETS, "objects of vimalabs/VIMABench", partial(_folder, "vima", YES)),
    Row("rendered, Drake models", _SETS, "objects of RobotLocomotion/models", partial(_folder, "drake_models", YES)),
    Row("rendered, Gazebo models", _SETS, "objects of osrf/gazebo_models", partial(_folder, "gazebo", YES)),
    Row(
        "rendered, aloha_sim",
        _SETS,
        "21 frames of objects of google-deepmind/aloha_sim, sentences of eight imagined "
        "people; the file was made before anything was changed because of this set",
        partial(_folder, "aloha_sim", HELD_OUT),
    ),
    *(
        Row(f"{guess}, development set", _CAUTION, note, partial(_guess, "outside", guess))
        for guess, note in (
            ("first match", "the first detection whose label fits the noun"),
            ("highest score", "the fitting detection with the highest score"),
            ("nearest label", "the detection whose label is spelt most like the noun"),
        )
    ),
)
_TABLETOPS = "30 random tabletops, a perfect detector"
CONDITIONS = (
    *(
        Row(f"tabletops, {name}", _FORMS, _TABLETOPS, partial(_condition, name), "tabletops")
        for name in ("transform, masks", "transform, boxes", "no transform, masks", "no transform, boxes")
    ),
    Row(
        "tabletops, points",
        _FORMS,
        f"{_TABLETOPS}; a point in the middle of each mask in place of a box",
        partial(_condition, "transform, points"),
    ),
    Row(
        "development set, as recorded",
        _OUTSIDE,
        "51 rendered frames, as recorded: half of the frames without a "
        "transform, a third with boxes only; developed on",
        partial(_condition, "transform, masks"),
    ),
    Row("development set, boxes", _OUTSIDE, "the same without any mask", partial(_condition, "transform, boxes")),
    Row(
        "development set, no transform",
        _OUTSIDE,
        "the same with every transform taken away",
        partial(_condition, "no transform, masks"),
    ),
    Row(
        "development set, neither",
        _OUTSIDE,
        "the same without masks and without transforms",
        partial(_condition, "no transform, boxes"),
    ),
    Row(
        "real frames, boxes",
        _REAL,
        "8 real frames, which have no transform, without the masks that two of them have; developed on",
        partial(_condition, "no transform, boxes"),
    ),
)
AMBIGUOUS = tuple(
    Row(name, run, "", _kind(*path, "by_kind", "ambiguous"))
    for name, run, path in (
        ("generated tabletops", _GENERATED, ()),
        ("constructed, exact depth", _BENCH, ("scores",)),
        ("constructed, depth relations", _DEPTH, ("scores",)),
        ("constructed, stereo, errors", _STEREO, ("scores",)),
        ("constructed, ToF, errors", _TOF, ("scores",)),
    )
)
DIALOGUES = tuple(
    Row(name, ResultRun("dialogues"), where, partial(_dialogues, group))
    for name, group, where in (
        ("real frames", "real_rgbd", "the 8 real frames"),
        ("development set", "outside", "the 51 rendered frames"),
        ("tables", "tables", "generated tabletops"),
        ("constructed scenes", "constructed", "constructed scenes"),
    )
)
BELIEVED = tuple(
    Row(
        f"{model}, {where}",
        ResultRun("believed", '--frames DIR … --grounder "NAME=grounder:load model=NAME" …'),
        note,
        partial(_believed, f"{model} on {folder}"),
        where,
    )
    for folder, where, note in (
        ("real_rgbd", "real", "8 real frames; the profile of detectors without one was fitted on them"),
        ("outside", "development set", "51 rendered frames; developed on"),
        ("outside2", "second set", "rendered frames of other objects; no number was fitted on them"),
    )
    for model in ("nanodet", "centernet")
)
_SEEN = "the tabletops of the first table; centre of the tight gravity-up box, at least 60 % in sight"
PLACES = (
    *(
        Row(f"generated, {name}", _GENERATED, note, partial(_place, ("pose_error_mm", key)))
        for name, key, note in (
            ("all", "all", "the tabletops of the first table; centre of the volume"),
            ("masks", "masks", "the half with masks"),
            ("boxes alone", "boxes", "the half with boxes"),
        )
    ),
    *(
        Row(
            f"settled, {kind}",
            _SIMULATED,
            _SEEN,
            partial(_place, ("errors", kind), median="volume_median_mm", p95="volume_p95_mm"),
            "settled",
        )
        for kind in ("can", "cup", "box", "apple", "chick", "plate", "mug", "banana")
    ),
)
