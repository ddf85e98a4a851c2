# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/figures.md about answers: data sets, what is missing, ambiguous words, dialogues, positions."""

from __future__ import annotations

from scripts.figure_rows import OURS, RESEARCH, Cells, Json, Row, counted, errors, read, share

NO, YES, HELD_OUT, GUESS = "no", "yes", "held out", "a guess"


def _generated(result: Json) -> tuple[str, ...]:
    answered, right = counted(result["coverage"]), counted(result["right_of_answers"])
    due = answered[1]
    return errors((right[1] - right[0], due), (due - answered[0], due), counted(result["pose_on_refusal"]), NO)


def _settled(result: Json) -> tuple[str, ...]:
    asked = result["questions"]
    given, due = counted(asked["right_of_answers"]), asked["right_of_all_that_have_an_answer"]["n"]
    needless = counted(asked["refused_of_all_that_have_an_answer"])
    return errors((given[1] - given[0], due), needless, counted(asked["pose_where_nothing_fits"]), NO)


def _constructed(result: Json) -> tuple[str, ...]:
    clear = result["scores"]["outside_the_band"]
    right, wrong = counted(clear["right_of_answerable"]), counted(clear["wrong_pose_of_answerable"])
    needless = right[1] - right[0] - wrong[0], right[1]
    return errors(wrong, needless, counted(clear["pose_where_to_be_refused"]), NO)


def _compact(mass: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        asked = result["questions"][mass]
        answered, right = counted(asked["all"]["answered"]), counted(asked["all"]["right"])
        due = answered[1]
        posed = counted(asked["pose_where_nothing_fits"]["answered"])
        return errors((answered[0] - right[0], due), (due - answered[0], due), posed, NO)

    return cells


def _folder(name: str, developed: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        scores = result["folders"][name]["nothing"]
        right, wrong = counted(scores["right"]), counted(scores["wrong"])
        needless = right[1] - right[0] - wrong[0], right[1]
        return errors(wrong, needless, counted(scores["pose_where_refusal_due"]), developed)

    return cells


def _guess(name: str, guess: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        scores = result["folders"][name]["guesses"][guess]
        right, wrong = counted(scores["coverage"]), counted(scores["wrong_of_due"])
        return errors(
            wrong, (right[1] - right[0] - wrong[0], right[1]), counted(scores["pose_where_refusal_due"]), GUESS
        )

    return cells


def _condition(name: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        counted = result["answers"][name]
        right, wrong, needless = (counted.get(kind, 0) for kind in ("right", "wrong", "needlessly refused"))
        due = right + wrong + needless
        posed = counted.get("answered where it must refuse", 0)
        must = posed + counted.get("rightly refused", 0)
        return share((wrong, due)), share((needless, due)), share((posed, must))

    return cells


def _dialogues(group: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        scores = result["groups"][group]
        return share(counted(scores["right"])), str(scores["wrong"])

    return cells


def _errors_of_place(*path: str, median: str = "median", p95: str = "p95") -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        found = read(result, *path)
        return f"{found['n']:,}", f"{found[median]} mm", f"{found[p95]} mm"

    return cells


def _kind(*path: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        return (share(counted(read(result, *path))),)

    return cells


# ------------------------------------------------------------------------------------------------ rows

_FRAMES = "--frames DIR …"
_SETS = f"{RESEARCH}/capabilities.json"
_EARLIER = "by the version before contrast, parts and contact"
_BENCH = f"{RESEARCH}/constructed_bench.json", "constructed", ""
_BOTH = (
    f"{RESEARCH}/constructed_both.json",
    "constructed",
    "--first-seed 120000 --items 26 --name both --with constructed",
)
_DEPTH = (
    f"{RESEARCH}/constructed_depth.json",
    "constructed",
    '--first-seed 300000 --items 7000 --only behind --only "in front of" --only near --only "far from" --name depth',
)
_STEREO = (
    f"{RESEARCH}/constructed_stereo_errors.json",
    "constructed",
    "--first-seed 120000 --items 14 --noise stereo --errors",
)
_TOF = (f"{RESEARCH}/constructed_tof_errors.json", "constructed", "--first-seed 130000 --items 14 --noise tof --errors")
ACCURACY = (
    Row(
        "generated tabletops",
        f"{OURS}/accuracy.json",
        "accuracy",
        "",
        "200 random tabletops of boxes, cylinders, balls and hollow cylinders, sensor noise, half of them with "
        "boxes alone; clear by 2 cm or more",
        _generated,
    ),
    Row(
        "settled tabletops",
        f"{OURS}/simulator.json",
        "simulator",
        "--seeds 200",
        "200 tabletops of about nine meshes that settled in MuJoCo, stereo-like noise, masks of the simulator",
        _settled,
    ),
    Row(
        "constructed, exact depth",
        *_BENCH,
        "scenes and sentences that share no code with the package, exact depth and masks; the command writes "
        "`constructed.json`, kept under this name; "
        "[evaluation.md](evaluation.md#constructed-scenes) says what the wrong "
        "answers were",
        _constructed,
    ),
    Row("constructed, earlier version", *_BOTH, f"the same generator at other seeds; {_EARLIER}", _constructed),
    Row(
        "constructed, depth relations",
        *_DEPTH,
        f"behind, in front of, near and far from, exact depth; {_EARLIER}",
        _constructed,
    ),
    Row(
        "constructed, stereo, errors",
        *_STEREO,
        f"stereo noise and an erring detector; of the questions whose answer the detector left in place; {_EARLIER}",
        _constructed,
    ),
    Row("constructed, ToF, errors", *_TOF, f"the same with time-of-flight noise; {_EARLIER}", _constructed),
    Row(
        "compact model, default",
        f"{OURS}/compact.json",
        "compact",
        "",
        "the compact model finds the objects, 300 settled worlds that it has not seen; `decision.mass` 0.8 (default)",
        _compact("0.8"),
    ),
    Row(
        "compact model, mass 0.6",
        f"{OURS}/compact.json",
        "compact",
        "",
        "the same with `decision.mass` 0.6",
        _compact("0.6"),
    ),
    Row(
        "real frames",
        _SETS,
        "capabilities",
        _FRAMES,
        "8 RGB-D frames of four sensors' data sets, detections by hand, no transform; the frames do not ship",
        _folder("real_rgbd", YES),
    ),
    Row(
        "rendered, development set",
        _SETS,
        "capabilities",
        _FRAMES,
        "51 rendered frames of objects from public repositories, spoken-style instructions; like all rendered frames "
        "they do not ship, and the file was made before the last change of words",
        _folder("outside", YES),
    ),
    Row(
        "rendered, ravens", _SETS, "capabilities", _FRAMES, "objects of google-research/ravens", _folder("ravens", YES)
    ),
    Row("rendered, VIMABench", _SETS, "capabilities", _FRAMES, "objects of vimalabs/VIMABench", _folder("vima", YES)),
    Row(
        "rendered, Drake models",
        _SETS,
        "capabilities",
        _FRAMES,
        "objects of RobotLocomotion/models",
        _folder("drake_models", YES),
    ),
    Row(
        "rendered, Gazebo models",
        _SETS,
        "capabilities",
        _FRAMES,
        "objects of osrf/gazebo_models",
        _folder("gazebo", YES),
    ),
    Row(
        "rendered, aloha_sim",
        _SETS,
        "capabilities",
        _FRAMES,
        "21 frames of objects of google-deepmind/aloha_sim, sentences of eight imagined people; the file was made "
        "before anything was changed because of this set",
        _folder("aloha_sim", HELD_OUT),
    ),
    Row(
        "first match, development set",
        f"{RESEARCH}/caution.json",
        "caution",
        _FRAMES,
        "the first detection whose label fits the noun",
        _guess("outside", "first match"),
    ),
    Row(
        "highest score, development set",
        f"{RESEARCH}/caution.json",
        "caution",
        _FRAMES,
        "the fitting detection with the highest score",
        _guess("outside", "highest score"),
    ),
    Row(
        "nearest label, development set",
        f"{RESEARCH}/caution.json",
        "caution",
        _FRAMES,
        "the detection whose label is spelt most like the noun",
        _guess("outside", "nearest label"),
    ),
)
_ABOVE = "as in the table of data sets"
_TABLETOPS = "30 random tabletops, a perfect detector"
_RECORDED = "as recorded: half of the frames without a transform, a third with boxes only"
CONDITIONS = (
    *(
        Row(
            f"tabletops, {name}",
            f"{OURS}/without_transform.json",
            "without_transform",
            "",
            _TABLETOPS,
            _condition(name),
            "tabletops",
        )
        for name in ("transform, masks", "transform, boxes", "no transform, masks", "no transform, boxes")
    ),
    Row(
        "tabletops, points",
        f"{OURS}/detection_forms.json",
        "detection_forms",
        "--seeds 30",
        f"{_TABLETOPS}; a point in the middle of each mask in place of a box",
        _condition("points"),
    ),
    Row(
        "development set, as recorded",
        f"{OURS}/without_transform_outside.json",
        "without_transform",
        "--frames DIR",
        f"51 rendered frames, {_RECORDED}; developed on",
        _condition("transform, masks"),
    ),
    Row(
        "development set, boxes",
        f"{OURS}/without_transform_outside.json",
        "without_transform",
        "--frames DIR",
        "the same without any mask",
        _condition("transform, boxes"),
    ),
    Row(
        "development set, no transform",
        f"{OURS}/without_transform_outside.json",
        "without_transform",
        "--frames DIR",
        "the same with every transform taken away",
        _condition("no transform, masks"),
    ),
    Row(
        "development set, neither",
        f"{OURS}/without_transform_outside.json",
        "without_transform",
        "--frames DIR",
        "the same without masks and without transforms",
        _condition("no transform, boxes"),
    ),
    Row(
        "real frames, boxes",
        f"{OURS}/without_transform_real_rgbd.json",
        "without_transform",
        "--frames DIR",
        "8 real frames, which have no transform, without the masks that two of them have; developed on",
        _condition("no transform, boxes"),
    ),
)
AMBIGUOUS = (
    Row("generated tabletops", f"{OURS}/accuracy.json", "accuracy", "", _ABOVE, _kind("by_kind", "ambiguous")),
    Row("constructed, exact depth", *_BENCH, _ABOVE, _kind("scores", "by_kind", "ambiguous")),
    Row("constructed, depth relations", *_DEPTH, _ABOVE, _kind("scores", "by_kind", "ambiguous")),
    Row("constructed, stereo, errors", *_STEREO, _ABOVE, _kind("scores", "by_kind", "ambiguous")),
    Row("constructed, ToF, errors", *_TOF, _ABOVE, _kind("scores", "by_kind", "ambiguous")),
)
DIALOGUES = tuple(
    Row(name, f"{RESEARCH}/dialogues.json", "dialogues", "", where, _dialogues(group))
    for name, group, where in (
        ("real frames", "real_rgbd", "the 8 real frames"),
        ("development set", "outside", "the 51 rendered frames"),
        ("tables", "tables", "generated tabletops"),
        ("constructed scenes", "constructed", "constructed scenes"),
    )
)
PLACES = (
    Row(
        "generated, all",
        f"{OURS}/accuracy.json",
        "accuracy",
        "",
        "the tabletops of the first table; centre of the volume",
        _errors_of_place("pose_error_mm", "all"),
    ),
    Row(
        "generated, masks",
        f"{OURS}/accuracy.json",
        "accuracy",
        "",
        "the half with masks",
        _errors_of_place("pose_error_mm", "masks"),
    ),
    Row(
        "generated, boxes alone",
        f"{OURS}/accuracy.json",
        "accuracy",
        "",
        "the half with boxes",
        _errors_of_place("pose_error_mm", "boxes"),
    ),
    *(
        Row(
            f"settled, {kind}",
            f"{OURS}/simulator.json",
            "simulator",
            "--seeds 200",
            "the tabletops of the first table; centre of the tight gravity-up box, at least 60 % in sight",
            _errors_of_place("errors", kind, median="volume_median_mm", p95="volume_p95_mm"),
            "settled",
        )
        for kind in ("can", "cup", "box", "apple", "chick", "plate", "mug", "banana")
    ),
)
