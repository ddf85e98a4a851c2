# SPDX-License-Identifier: Apache-2.0
"""Backend "composed": separate models for finding objects, masks, whole phrases and relations.

The four are chosen independently. The first does the work of those that are left out, if it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.loading import learnt_from
from spatial_vlm_ros.perception.backends.sam2 import with_masks
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.judging import AskedJudge, RelationJudge, RelationQuestion
from spatial_vlm_ros.perception.referring import Referrer
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import ModelDomain, NounPhrase, Rgb

NAME = "composed"

_JUDGE_OPTIONS = ("device", "dtype", "template", "lead")
# what answers questions about relations: see perception.judging.judge_of
_QUESTIONS = ("judge", "scorer", "answer", "box_text")


class ComposedGrounder:
    """A grounder with a second opinion from another model. All other methods are the grounder's.

    Questions about relations go to the grounder, or to the other model if the grounder answers none. If one of the two
    accepts only simulated images, real images are refused.
    """

    def __init__(self, grounder: Grounder, second_opinion: Referrer) -> None:
        self.grounder, self.second_opinion = grounder, second_opinion
        other = domain_of(second_opinion)
        self.domain: ModelDomain = other if other == "simulated" else domain_of(grounder)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder; see Grounder.ground."""
        return self.grounder.ground(rgb, phrases)

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Call the model of the second opinion; see Referrer.refer."""
        return self.second_opinion.refer(rgb, words)

    def __getattr__(self, name: str) -> Any:
        if name in ("grounder", "second_opinion"):  # not yet made
            raise AttributeError(name)
        first = self.grounder
        if name == "masked" and not hasattr(first, name):
            return getattr(self.second_opinion, name)
        if name in _QUESTIONS and not any(hasattr(first, other) for other in _QUESTIONS):
            return getattr(self.second_opinion, name)
        return getattr(first, name)


class JudgedGrounder:
    """A grounder with another model that judges relations. All other methods are the grounder's.

    Args:
        domain: domain of the judge; if it is "simulated", real images are refused, whatever the grounder's domain is.
    """

    def __init__(self, grounder: Grounder, judge: RelationJudge, domain: ModelDomain = "unknown") -> None:
        self.grounder, self.judging = grounder, judge
        self.domain = domain if domain == "simulated" else domain_of(grounder)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder; see Grounder.ground."""
        return self.grounder.ground(rgb, phrases)

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """Call the judge; see RelationJudge.judge."""
        return self.judging.judge(rgb, questions, budget_s)

    def __getattr__(self, name: str) -> Any:
        if name in ("grounder", "judging"):  # not yet made
            raise AttributeError(name)
        return getattr(self.grounder, name)


def load(
    *,
    grounder: str,
    options: str = "",
    masks: str = "",
    masks_options: str = "",
    second_opinion: str = "",
    second_opinion_options: str = "",
    judge: str = "",
    judge_options: str = "",
) -> Grounder:
    """Load the backends. Options: docs/backends.md."""
    for name, backend, given in (
        ("masks_options", masks, masks_options),
        ("second_opinion_options", second_opinion, second_opinion_options),
        ("judge_options", judge, judge_options),
    ):
        if given and not backend:
            kind = name.removesuffix("_options")
            raise InputError(f"option {name}", repr(given), f"none without {kind}", f"name {kind}, or leave it out")
    found = load_grounder(grounder, parse_options(options))
    if masks:
        chosen = parse_options(masks_options)
        found = with_masks(found, masks, chosen.pop("model", ""), **chosen)
    if judge:
        from spatial_vlm_ros.perception.backends import scoring  # needs torch

        asked_as = parse_options(judge_options)
        if unknown := [name for name in asked_as if name not in _JUDGE_OPTIONS]:
            raise InputError("judge_options", ", ".join(unknown), ", ".join(_JUDGE_OPTIONS))
        asked_judge = AskedJudge(scoring.load(model=judge, **asked_as))
        found = JudgedGrounder(found, asked_judge, learnt_from(Path(judge).expanduser()))
    if not second_opinion:
        return found
    asked = load_grounder(second_opinion, parse_options(second_opinion_options))
    if not callable(getattr(asked, "refer", None)):
        expected = "a backend that can ground a whole phrase"
        repair = "set it to server, vlm, qwen-vl or florence-2"
        raise InputError("option second_opinion", repr(second_opinion), expected, repair)
    return ComposedGrounder(found, asked)  # type: ignore[arg-type]
