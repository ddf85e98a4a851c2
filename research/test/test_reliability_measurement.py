# SPDX-License-Identifier: Apache-2.0
"""Reliabilities are counted on usual and counter-heuristic questions, so that a rule of thumb is found out."""

from __future__ import annotations

from research.experiments.second_opinions import MEASURE_FROM, THUMB, added, made, measure
from spatial_vlm_ros.parameters import SecondOpinionConfig
from spatial_vlm_ros.spatial.second_opinion import Counts, Reliabilities


def test_a_model_that_takes_higher_for_farther_would_count_on_usual_questions_and_does_not_on_all() -> None:
    tally = measure({THUMB: made()[THUMB]}, "farthest", MEASURE_FROM, 32, "none", errors=False)[THUMB]
    kinds, every = tally.kinds, tally.counts["farthest"]
    usual, contrary = kinds["farthest, usual"], kinds["farthest, counter-heuristic"]
    assert tally.failed == 0
    assert contrary["right"] == 0 < contrary["wrong"]
    assert added([{"farthest": usual}, {"farthest": contrary}])["farthest"] == every
    assert takes_part(usual)
    assert not takes_part(every)


def takes_part(counts: dict[str, int]) -> bool:
    """Whether an opinion with these counts may break a tie, with the default settings."""
    config = SecondOpinionConfig()
    confusion = Reliabilities("test", {"farthest": Counts(**counts)}).of(("farthest",), config.prior)
    return confusion is not None and confusion.settles(config.most_wrong)
