# SPDX-License-Identifier: Apache-2.0
"""Backend "composed": separate models for finding objects, masks, whole phrases and relations.

The four are chosen independently. The first does the work of those that are left out, if it can.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.loading import learnt_from
from spatial_vlm_ros.perception.backends.sam2 import WrappedGrounder, with_masks
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.judging import AskedJudge, RelationJudge
from spatial_vlm_ros.perception.referring import Referrer
from spatial_vlm_ros.types import ModelDomain

NAME = "composed"

_JUDGE_OPTIONS = ("device", "dtype", "template", "lead")
# what answers questions about relations: see perception.judging.judge_of
_QUESTIONS = ("judge", "scorer", "answer", "box_text")


class ComposedGrounder(WrappedGrounder):
    """A grounder with other models for whole phrases and for relations.

    Questions about relations go to the judge, else to the grounder, else to the second opinion: to the first that
    answers some. If one of the models accepts only simulated images, real images are refused.
    """

    def __init__(
        self,
        grounder: Grounder,
        second_opinion: Referrer | None = None,
        judging: RelationJudge | None = None,
        domain: ModelDomain = "unknown",
    ) -> None:
        super().__init__(grounder)
        self.second_opinion, self.judging = second_opinion, judging
        if "simulated" in (domain, domain_of(second_opinion)):
            self.domain = "simulated"

    def __getattr__(self, name: str) -> Any:
        if name in ("grounder", "second_opinion", "judging"):  # not yet made
            raise AttributeError(name)
        if name == "refer" and self.second_opinion is not None:
            return self.second_opinion.refer
        if name == "judge" and self.judging is not None:
            return self.judging.judge
        asked = _QUESTIONS if name in _QUESTIONS and self.judging is None else (name,) if name == "masked" else ()
        other = asked and self.second_opinion is not None and not any(hasattr(self.grounder, one) for one in asked)
        return getattr(self.second_opinion if other else self.grounder, name)


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
    judging: RelationJudge | None = None
    domain: ModelDomain = "unknown"
    if judge:
        from spatial_vlm_ros.perception.backends import scoring  # needs torch

        asked_as = parse_options(judge_options)
        if unknown := [name for name in asked_as if name not in _JUDGE_OPTIONS]:
            raise InputError("judge_options", ", ".join(unknown), ", ".join(_JUDGE_OPTIONS))
        judging, domain = AskedJudge(scoring.load(model=judge, **asked_as)), learnt_from(Path(judge).expanduser())
    asked: Any = load_grounder(second_opinion, parse_options(second_opinion_options)) if second_opinion else None
    if asked is not None and not callable(getattr(asked, "refer", None)):
        expected = "a backend that can ground a whole phrase"
        repair = "set it to server, vlm, qwen-vl or florence-2"
        raise InputError("option second_opinion", repr(second_opinion), expected, repair)
    return ComposedGrounder(found, asked, judging, domain) if judging or asked is not None else found
