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
from spatial_vlm_ros.perception.backends.sam2 import WrappedGrounder, with_masks
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.judging import AskedJudge, RelationJudge, RelationQuestion
from spatial_vlm_ros.perception.referring import Referrer
from spatial_vlm_ros.types import ModelDomain, Rgb

NAME = "composed"

_JUDGE_OPTIONS = ("device", "dtype", "template", "lead")
# what answers questions about relations: see perception.judging.judge_of
_QUESTIONS = ("judge", "scorer", "answer", "box_text")


class ComposedGrounder(WrappedGrounder):
    """A grounder with a second opinion from another model.

    Questions about relations go to the grounder, or to the other model if the grounder answers none. If one of the two
    accepts only simulated images, real images are refused.
    """

    def __init__(self, grounder: Grounder, second_opinion: Referrer) -> None:
        super().__init__(grounder)
        self.second_opinion = second_opinion
        if domain_of(second_opinion) == "simulated":
            self.domain = "simulated"

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Call the model of the second opinion; see Referrer.refer."""
        return self.second_opinion.refer(rgb, words)

    def __getattr__(self, name: str) -> Any:
        if name in ("grounder", "second_opinion"):  # not yet made
            raise AttributeError(name)
        asked = _QUESTIONS if name in _QUESTIONS else ("masked",) if name == "masked" else ()
        other = asked and not any(hasattr(self.grounder, one) for one in asked)
        return getattr(self.second_opinion if other else self.grounder, name)


class JudgedGrounder(WrappedGrounder):
    """A grounder with another model that judges relations.

    Args:
        domain: domain of the judge; if it is "simulated", real images are refused, whatever the grounder's domain is.
    """

    def __init__(self, grounder: Grounder, judge: RelationJudge, domain: ModelDomain = "unknown") -> None:
        super().__init__(grounder)
        self.judging = judge
        if domain == "simulated":
            self.domain = domain

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """Call the judge; see RelationJudge.judge."""
        return self.judging.judge(rgb, questions, budget_s)


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
