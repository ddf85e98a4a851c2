# SPDX-License-Identifier: Apache-2.0
"""Labelled images: named boxes, and relations that hold or do not hold; from folders of frames, and stored on disk.

One PNG per view, one JSON file per group, written last. Images are read one by one.

DIR/<source>/<group>.json        [{"name", "objects": [...], "relations": [...]}, ...]
DIR/<source>/<name>.png          (H, W, 3) uint8

All views of a group (of one world or one frame) have the same use: training, calibration or test.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, RelationLabel, labelled_pairs
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject, read_typed
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.images import decode_file
from spatial_vlm_ros.files.writing import write_bytes, write_json
from spatial_vlm_ros.geometry import boxes
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, check_probabilities
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.recording.replay import FolderFrames
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import newcombe, wilson

PARTS = ("training", "calibration", "test")
HELD_OUT = 0.15
"""Share of the groups of a source used for calibration, and the same share for the test; at least one group each."""
_REPAIR = "start again with --force"


class LabelledView(NamedTuple):
    """An image and its labels; its name is unique among those of one source."""

    name: str
    rgb: Rgb
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]


@dataclass(frozen=True)
class StoredView:
    """A labelled view whose image is still on disk: the file `path`."""

    name: str
    objects: tuple[LabelledObject, ...]
    relations: tuple[RelationLabel, ...]
    source: str = ""
    path: Path = Path()

    @property
    def rgb(self) -> Rgb:
        """(H, W, 3) uint8, read at each access."""
        try:
            bgr = decode_file(self.path, cv2.IMREAD_COLOR, _REPAIR)
        except FileError as error:
            raise FileError(self.path, error.got, _REPAIR) from error
        return np.ascontiguousarray(bgr[..., ::-1], np.uint8)


AnyView = LabelledView | StoredView
Parts = Mapping[str, tuple[StoredView, ...]]


def unique_objects(objects: Sequence[LabelledObject]) -> tuple[LabelledObject, ...]:
    """Objects whose name no other object of the image has."""
    counts = Counter(obj.name for obj in objects)
    return tuple(obj for obj in objects if counts[obj.name] == 1)


def labelled_views(folder: Path, config: ResolverConfig) -> Iterator[LabelledView]:
    """The frames of a folder whose cases tell a relation, in the order of the cases.

    A case that expects one of several objects of a name says that its relation holds of that object and of none of the
    others; boxes and names are those of the frame's detections.
    """
    frames, left_out, is_empty = FolderFrames(folder), Counter[str](), True
    cases: dict[str, list[Case]] = {}
    for case in load_cases(folder):
        cases.setdefault(case.frame, []).append(case)
    for name, of_frame in cases.items():
        there = frames.load(name)
        if isinstance(there, SpatialVlmError):
            raise FileError(folder / name, str(there), "fix the frame, or remove its cases")
        frame, detections = there
        labels: dict[RelationLabel, None] = {}
        for case in of_frame:
            pairs = labelled_pairs(case, detections, config)
            if isinstance(pairs, str):
                left_out[pairs] += 1
            else:
                labels.update(dict.fromkeys(pairs))
        if labels:
            is_empty = False
            objects = tuple(LabelledObject(d.label, d.attributes, d.box_xyxy) for d in detections)
            yield LabelledView(name, frame.rgb, objects, tuple(labels))
    if is_empty:
        reasons = "; ".join(f"{n} where {reason}" for reason, n in left_out.items()) or "no case"
        got = f"{folder} without a relation that is true or false: {reasons}"
        repair = "add cases that expect one object by its id (docs/evaluation.md)"
        raise InputError("--data", got, "relations with known truth", repair)


# ------------------------------------------------------------------------------------------------ on disk


def group_path(folder: Path, source: str, group: str) -> Path:
    """Path of a group's JSON file; if it exists, the group is complete."""
    return folder / source / f"{group}.json"


def write_group(folder: Path, source: str, group: str, views: Iterable[LabelledView]) -> None:
    """Write the views of a group, possibly none."""
    path, told = group_path(folder, source, group), []
    for view in views:
        data = cv2.imencode(".png", cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR))[1]
        write_bytes(_image_path(path, view.name), data.tobytes(), force=True)
        objects, relations = ([asdict(one) for one in some] for some in (view.objects, view.relations))
        told.append({"name": view.name, "objects": objects, "relations": relations})
    write_json(path, told, force=True)


def read_store(folder: Path, seed: int) -> dict[str, tuple[StoredView, ...]]:
    """Read the views for training, calibration and test, by part."""
    parts: dict[str, list[StoredView]] = {part: [] for part in PARTS}
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        groups: dict[str, list[StoredView]] = {}
        for path in sorted(source.glob("*.json")):
            told = read_typed(path, list[StoredView], _REPAIR)
            groups[path.stem] = [replace(one, source=source.name, path=_image_path(path, one.name)) for one in told]
        for part, names in split_groups([name for name, views in groups.items() if views], seed).items():
            parts[part] += [view for name in names for view in groups[name]]
    if not all(any(view.relations for view in views) for views in parts.values()):
        got = ", ".join(f"{len(parts[part])} views for {part}" for part in PARTS)
        repair = "pass a folder with labelled frames of at least 3 scenes, or --rendered 3 or more"
        raise InputError("--data, --rendered", got, "views with relations in each of the three parts", repair)
    return {part: tuple(views) for part, views in parts.items()}


def split_groups(names: Sequence[str], seed: int) -> Mapping[str, list[str]]:
    """Part → its groups; with fewer than three groups all are for training."""
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    held = max(1, round(HELD_OUT * len(drawn))) if len(drawn) > 2 else 0
    return {"test": drawn[:held], "calibration": drawn[held : 2 * held], "training": drawn[2 * held :]}


def _image_path(group: Path, name: str) -> Path:
    """File of an image beside the JSON of its group; a frame's name may contain folders."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    if kept != name:
        kept = f"{kept}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return group.parent / f"{kept}.png"


# ------------------------------------------------------------------------------------------------ scores


RIGHT_PLACE = 0.5
"""Least intersection over union of two boxes for a location to count as right."""
JudgedLabel = tuple[RelationLabel, float | None]
"""A label, and the model's probability of its relation; None if it contradicted itself."""


def judged(views: Iterable[AnyView], judge: RelationJudge) -> list[JudgedLabel]:
    """Ask a model about every labelled pair whose relation it supports."""
    said: list[JudgedLabel] = []
    for view in views:
        asked = [label for label in view.relations if label.relation in CHOICES]
        told = judge.judge(view.rgb, [label.question for label in asked], math.inf)
        said += zip(asked, check_probabilities(told, len(asked), type(judge).__name__), strict=True)
    return said


def tally_of(said: Sequence[JudgedLabel]) -> JudgeTally:
    """The tally for `judge_calibration.judge_json`."""
    tally = JudgeTally()
    for label, p in said:
        tally.add(label, p, in_time=True)
    return tally


def overlaps(views: Iterable[AnyView], locate: Callable[[Rgb, str], BoxXyxy | None]) -> list[float]:
    """IoU of the model's box with the true box, for all objects with a unique name."""
    found = []
    for view in views:
        rgb = view.rgb
        for obj in unique_objects(view.objects):
            box = locate(rgb, obj.name)
            found.append(0.0 if box is None else float(boxes.overlaps(box, obj.box_xyxy)[0, 0]))
    return found


def relation_score(said: Sequence[JudgedLabel]) -> dict[str, Any]:
    """Score a group of pairs.

    "right": right answers among the pairs with an opinion; "held": the same where the relation holds, 0 for a model
    that always denies; "none": pairs without an opinion; "positive": pairs for which the relation holds.
    """
    told = [((p > 0.5) is label.holds, label.holds) for label, p in said if p is not None]
    held = [is_right for is_right, holds in told if holds]
    return {
        "right": asdict(wilson(sum(is_right for is_right, _ in told), len(told))),
        "held": asdict(wilson(sum(held), len(held))),
        "none": len(said) - len(told),
        "positive": sum(label.holds for label, _ in said),
    }


def place_score(found: Sequence[float]) -> dict[str, Any]:
    """Share of the overlaps that are RIGHT_PLACE or more."""
    return asdict(wilson(sum(value >= RIGHT_PLACE for value in found), len(found)))


def scores_of(views: int, said: Sequence[JudgedLabel], found: Sequence[float]) -> dict[str, Any]:
    """Compute the scores of one model.

    "relations" by name, and of the depth pairs "usual" ("higher is farther" is right) and "counter", as
    `relation_score`; "difference": usual - counter, 95 % by Newcombe's method, or None without opinions; "overlap": 0
    for an object without a box.
    """
    groups = {name: [one for one in said if one[0].relation == name] for name in CHOICES}
    depth = [one for one in said if one[0].relation in DEPTH_RELATIONS]
    usual, counter = (relation_score([one for one in depth if one[0].contrary is is_so]) for is_so in (False, True))
    difference = newcombe(usual["right"]["k"], usual["right"]["n"], counter["right"]["k"], counter["right"]["n"])
    return {
        "views": views,
        "relations": {name: relation_score(own) for name, own in groups.items() if own},
        "usual": usual,
        "counter": counter,
        "difference": None if difference is None else asdict(difference),
        "places": place_score(found),
        "overlap": sum(found) / len(found) if found else None,
    }


# ------------------------------------------------------------------------------------------------ card


_HEADER = """\
| relation | right, of those with an opinion | 95 % (Wilson) | where it holds | holds, of all | no opinion |
|---|---|---|---|---|---|"""
_RELATIONS = """\
{} views of groups that were not used for training or calibration.
Each pair is asked as by the judge: with the choices in both orders, and for left and right also in the
mirrored image. Pairs of one view are not independent, so the intervals are too narrow.
"""
_REGIONS = """\
{} views of groups that were not used for training. The encoder has to find the caption of a
region among the captions of its image, and the box of a caption.

- Captions found: {}; by chance {:.1f} %.
- Boxes found (overlap of half or more): {}; mean overlap {:.3f}.
"""
_USE_OF_ENCODER = """\
As `--encoder` of a further `spatial-vlm adapt`. A projector has to be trained for it.
It does not judge relations by itself, so it has no reliability file.
docs/adapt.md says what differs from the paper."""
_USE = """\
`calibration.json` in this folder is the file for `judge.calibration`. It was fitted
on {} views that were not used for the scores."""
_REMEDIES = """\
This package applies the remedies that `config.json` names when it loads the folder. Other programs
load the weights without them, and get other answers."""
_NOT_FOR = """\
- Deciding where a robot moves. Its answers are a second opinion; the measurement decides.
- Objects, cameras and places unlike those of its data; the scores above do not cover them.
- Languages other than English, and questions other than those of the judge and of places.
"""


def card_text(told: Mapping[str, Any]) -> str:
    """Build the card as Markdown from the values of adaptation.json."""
    data, run, settings, scores = told["data"], told["run"], told["settings"], told["scores"]
    method, views, is_encoder = settings["method"], data["views"], settings["method"] == "cloc"
    losses, rank = run["losses"], settings["rank"]
    lora = {"LoRA": f"rank {rank}, alpha {2 * rank}, merged into the weights"} if method == "lora" else {}
    rows = {
        "base": told["base"],
        "encoder": told["encoder"] or "of the base",
        "data": f"{data['rendered']} rendered worlds, {data['frames']} labelled frames",
        "views": f"{views['training']} for training, {views['calibration']} for calibration, {views['test']} for the "
        "scores",
        "positions": settings["positions"] or "as the base",
        "norm": settings["norm"],
        "features": ", ".join(map(str, settings["features"])) or "as the base",
        "batch": settings["batch"],
        "seed": settings["seed"],
        **lora,
        "steps": run["steps"],
        "highest rate": "; ".join(f"{rate:g} from step {step}" for step, rate in run["rates"]),
        "trained": f"{run['parameters']:,} parameters",
        "mean loss": ", ".join(f"{loss:.4f} up to step {step}" for step, loss in (*losses[:1], *losses[1:][-1:])),
        "time": f"{run['seconds']:.0f} s of training on {run['device']}",
        "memory": f"{run['memory'] / 2**30:.2f} GiB at most ({run['memory_of']})",
        "version": f"spatial_vlm_ros {told['version']}",
    }
    kind = "vision encoder" if is_encoder else "vision-language model"
    parts = [f"# {told['name']}", "", f"A {kind} adapted with `spatial-vlm adapt --method {method}`.", ""]
    parts += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    parts += ["", "## Scores on held-out views", ""]
    if is_encoder:
        found = _share(scores["captions"]), 100 * scores["chance"], _share(scores["boxes"]), scores["overlap"]
        parts += [_REGIONS.format(scores["views"], *found)]
    else:
        parts += [_RELATIONS.format(scores["views"]), *_tables(scores)]
    if "base_scores" in told:
        parts += ["## The base on the same views", "", *_tables(told["base_scores"])]
    parts += ["## Use", "", _USE_OF_ENCODER if is_encoder else _USE.format(views["calibration"])]
    if method == "pin" or settings["norm"] != "none" or settings["positions"] or settings["features"]:
        parts += [_REMEDIES]
    parts += ["", "## Not for", ""]
    parts += [] if data["frames"] else ["- Real images: it was trained and scored only on rendered tables."]
    return "\n".join([*parts, _NOT_FOR])


def _tables(scores: Mapping[str, Any]) -> list[str]:
    """The tables of a model's scores, and an empty line."""
    lines = [_HEADER, *(_row(name, one) for name, one in scores["relations"].items())]
    lines += ["", '"Higher in the image is farther", for behind and in front of:', "", _HEADER]
    lines += [_row("pairs that follow the rule", scores["usual"]), _row("pairs that contradict it", scores["counter"])]
    difference, places = scores["difference"], scores["places"]
    if difference is not None:
        value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
        lines += ["", f"Difference: {value:.1f} points ({low:.1f} to {high:.1f}, Newcombe)."]
    if places["n"]:
        lines += ["", f"Places: {_share(places)} boxes overlap the true one by half or more."]
        lines += [f"Mean overlap: {scores['overlap']:.3f}."]
    return [*lines, ""]


def _row(name: str, one: Mapping[str, Any]) -> str:
    right, held, none = one["right"], one["held"], one["none"]
    interval = f"{100 * right['low']:.1f} to {100 * right['high']:.1f} %" if right["n"] else "-"
    cells = f"{right['k']} / {right['n']} | {interval} | {held['k']} / {held['n']}"
    return f"| {name} | {cells} | {one['positive']} / {right['n'] + none} | {none} |"


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['k']} of {one['n']} ({100 * one['low']:.1f} to {100 * one['high']:.1f} %, Wilson)"
