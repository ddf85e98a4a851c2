# SPDX-License-Identifier: Apache-2.0
"""Scores how often a model is right about relations and locations in labelled views, and the card that shows them.

For "behind" and "in front of", pairs for which the rule "higher in the image is farther" is right are counted
separately from pairs for which it is wrong: a model that only knows the rule is good at the first and bad at the
second. The card is the README.md of an adapted model's folder, built from adaptation.json.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spatial_vlm_lab.adaptation.views import LabelledView, unique_objects
from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, RelationLabel
from spatial_vlm_lab.scoring.outcome import COUNTER_HEURISTIC, USUAL
from spatial_vlm_lab.training.images import BoxXyxy
from spatial_vlm_ros.geometry import boxes
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS
from spatial_vlm_ros.perception.judging import CHOICES, RelationJudge, check_probabilities
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe, wilson

RIGHT_PLACE = 0.5
"""Least intersection over union of two boxes for a location to count as right."""
_GIB = 2**30
_RELATIONS = (
    "| relation | right, of those with an opinion | 95 % (Wilson) | where it holds | holds, of all | no opinion |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class JudgedLabel:
    """A model's answer about a pair.

    Args:
        p: its probability; None if it contradicted itself.
    """

    label: RelationLabel
    p: float | None

    @property
    def kind(self) -> str:
        """USUAL or COUNTER_HEURISTIC for depth relations, otherwise ""."""
        if self.label.relation not in DEPTH_RELATIONS:
            return ""
        return COUNTER_HEURISTIC if self.label.contrary else USUAL

    @property
    def right(self) -> bool:
        """Whether the model's opinion is right; False without an opinion."""
        return self.p is not None and (self.p > 0.5) is self.label.holds


@dataclass(frozen=True)
class RelationScore:
    """Score of one group of pairs.

    Args:
        held: right answers among the pairs with an opinion for which the relation holds; 0 for a model that always
            denies.
    """

    right: Share
    held: Share
    none: int
    positive: int

    @classmethod
    def of(cls, said: Iterable[JudgedLabel]) -> RelationScore:
        """Score the answers about a group of pairs."""
        said = list(said)
        told = [one for one in said if one.p is not None]
        held = [one.right for one in told if one.label.holds]
        right = wilson(sum(one.right for one in told), len(told))
        positive = sum(one.label.holds for one in said)
        return cls(right, wilson(sum(held), len(held)), len(said) - len(told), positive)


@dataclass(frozen=True)
class AdaptationScores:
    """All scores of one model.

    Args:
        usual: depth pairs for which "higher is farther" is right.
        difference: usual - counter, 95 % by Newcombe's method; None if one of them has no opinions.
        places: share of queried objects whose box overlaps the true one by RIGHT_PLACE or more.
        overlap: mean intersection over union, 0 for an object without a box; None if no object was queried.
    """

    views: int
    relations: dict[str, RelationScore]
    usual: RelationScore
    counter: RelationScore
    difference: Interval | None
    places: Share
    overlap: float | None


def judged(views: Iterable[LabelledView], judge: RelationJudge) -> list[JudgedLabel]:
    """Ask a model about every labelled pair whose relation it supports."""
    said = []
    for view in views:
        asked = [label for label in view.relations if label.relation in CHOICES]
        said_of = judge.judge(view.rgb, [label.question for label in asked], math.inf)
        told = check_probabilities(said_of, len(asked), type(judge).__name__)
        said += [JudgedLabel(label, p) for label, p in zip(asked, told, strict=True)]
    return said


def tally_of(said: Sequence[JudgedLabel]) -> JudgeTally:
    """The tally for `judge_calibration.judge_json`."""
    tally = JudgeTally()
    for one in said:
        tally.add(one.label, one.p, in_time=True)
    return tally


def overlaps(views: Iterable[LabelledView], locate: Callable[[Rgb, str], BoxXyxy | None]) -> list[float]:
    """IoU of the model's box with the true box, for all objects with a unique name."""
    found = []
    for view in views:
        for obj in unique_objects(view.objects):
            box = locate(view.rgb, obj.name)
            found.append(0.0 if box is None else float(boxes.overlaps(box, obj.box_xyxy)[0, 0]))
    return found


def scores_of(views: int, said: Sequence[JudgedLabel], found: Sequence[float]) -> AdaptationScores:
    """Compute the scores.

    Args:
        said: the model's answers about their relations.
        found: as `overlaps` gives them.
    """
    groups = {name: [one for one in said if one.label.relation == name] for name in CHOICES}
    usual, counter = (RelationScore.of(one for one in said if one.kind == kind) for kind in (USUAL, COUNTER_HEURISTIC))
    return AdaptationScores(
        views,
        {name: RelationScore.of(own) for name, own in groups.items() if own},
        usual,
        counter,
        newcombe(usual.right.k, usual.right.n, counter.right.k, counter.right.n),
        wilson(sum(value >= RIGHT_PLACE for value in found), len(found)),
        sum(found) / len(found) if found else None,
    )


# ------------------------------------------------------------------------------------------------ card


def card_text(told: Mapping[str, Any]) -> str:
    """Build the card as Markdown from the values of adaptation.json."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    data, run, settings = told["data"], told["run"], told["settings"]
    method, views = settings["method"], told["data"]["views"]
    kind = "vision encoder" if method == "cloc" else "vision-language model"
    yield from (f"# {told['name']}", "", f"A {kind} adapted with `spatial-vlm adapt --method {method}`.", "")
    yield from ("| | |", "|---|---|")
    yield f"| base | {told['base']} |"
    yield f"| encoder | {told['encoder'] or 'of the base'} |"
    yield f"| data | {data['rendered']} rendered worlds, {data['frames']} labelled frames |"
    counts = f"{views['training']} for training, {views['calibration']} for calibration, {views['test']} for the scores"
    yield f"| views | {counts} |"
    for name in ("positions", "norm", "features", "batch", "seed"):
        value = settings[name]
        listed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        yield f"| {name} | {'as the base' if listed in (None, '') else listed} |"
    if method == "lora":
        yield f"| LoRA | rank {settings['rank']}, alpha {2 * settings['rank']}, merged into the weights |"
    yield f"| steps | {run['steps']} |"
    yield f"| highest rate | {'; '.join(f'{rate:g} from step {step}' for step, rate in run['rates'])} |"
    yield f"| trained | {run['parameters']:,} parameters |"
    first, last = (f"{loss:.4f} up to step {step}" for step, loss in (run["losses"][0], run["losses"][-1]))
    yield f"| mean loss | {first if first == last else f'{first}, {last}'} |"
    yield f"| time | {run['seconds']:.0f} s of training on {run['device']} |"
    yield f"| memory | {run['memory'] / _GIB:.2f} GiB at most ({run['memory_of']}) |"
    yield f"| version | spatial_vlm_ros {told['version']} |"
    yield from ("", "## Scores on held-out views", "")
    yield from _regions(told["scores"]) if method == "cloc" else _relations(told["scores"])
    if "base_scores" in told:
        yield from ("## The base on the same views", "", *_tables(told["base_scores"]))
    yield from _uses(told)


def _relations(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"{scores['views']} views of groups that were not used for training or calibration."
    yield "Each pair is asked as by the judge: with the choices in both orders, and for left and right also in the"
    yield "mirrored image. Pairs of one view are not independent, so the intervals are too narrow."
    yield ""
    yield from _tables(scores)


def _tables(scores: Mapping[str, Any]) -> Iterator[str]:
    yield from _RELATIONS
    for name, one in scores["relations"].items():
        yield _row(name, one)
    yield from ("", '"Higher in the image is farther", for behind and in front of:', "", *_RELATIONS)
    yield _row("pairs that follow the rule", scores["usual"])
    yield _row("pairs that contradict it", scores["counter"])
    difference = scores["difference"]
    if difference is not None:
        low, high = 100 * difference["low"], 100 * difference["high"]
        yield from ("", f"Difference: {100 * difference['value']:.1f} points ({low:.1f} to {high:.1f}, Newcombe).")
    places = scores["places"]
    if places["n"]:
        yield ""
        yield f"Places: {_share(places)} boxes overlap the true one by half or more."
        yield f"Mean overlap: {scores['overlap']:.3f}."
    yield ""


def _regions(scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"{scores['views']} views of groups that were not used for training. The encoder has to find the caption of a"
    yield "region among the captions of its image, and the box of a caption."
    yield ""
    yield f"- Captions found: {_share(scores['captions'])}; by chance {100 * scores['chance']:.1f} %."
    yield f"- Boxes found (overlap of half or more): {_share(scores['boxes'])}; mean overlap {scores['overlap']:.3f}."
    yield ""


def _row(name: str, one: Mapping[str, Any]) -> str:
    right, n = one["right"], one["right"]["n"] + one["none"]
    interval = f"{100 * right['low']:.1f} to {100 * right['high']:.1f} %" if right["n"] else "-"
    held = f"{one['held']['k']} / {one['held']['n']}"
    return f"| {name} | {right['k']} / {right['n']} | {interval} | {held} | {one['positive']} / {n} | {one['none']} |"


def _uses(told: Mapping[str, Any]) -> Iterator[str]:
    settings = told["settings"]
    yield from ("## Use", "")
    if settings["method"] == "cloc":
        yield "As `--encoder` of a further `spatial-vlm adapt`. A projector has to be trained for it."
        yield "It does not judge relations by itself, so it has no reliability file."
        yield "docs/adapt.md says what differs from the paper."
    else:
        yield "`calibration.json` in this folder is the file for `judge.calibration`. It was fitted"
        yield f"on {told['data']['views']['calibration']} views that were not used for the scores."
        if settings["method"] == "pin" or settings["norm"] != "none" or settings["positions"] or settings["features"]:
            yield "This package applies the remedies that `config.json` names when it loads the folder. Other programs"
            yield "load the weights without them, and get other answers."
    yield from ("", "## Not for", "")
    if not told["data"]["frames"]:
        yield "- Real images: it was trained and scored only on rendered tables."
    yield "- Deciding where a robot moves. Its answers are a second opinion; the measurement decides."
    yield "- Objects, cameras and places unlike those of its data; the scores above do not cover them."
    yield "- Languages other than English, and questions other than those of the judge and of places."


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['k']} of {one['n']} ({100 * one['low']:.1f} to {100 * one['high']:.1f} %, Wilson)"
