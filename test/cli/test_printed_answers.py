# SPDX-License-Identifier: Apache-2.0
"""What commands print for people of an answer and of a reading."""

from __future__ import annotations

import dataclasses

import pytest

from spatial_vlm_ros.cli.group import told_source
from spatial_vlm_ros.output import terminal
from spatial_vlm_ros.types import (
    CHOSEN_BY_MODEL,
    Destination,
    Distance,
    FrameOfReference,
    GraspHint,
    NounPhrase,
    Ordinal,
    Place,
    Pose,
    RelationClause,
    Resolution,
    SpatialQuery,
    Status,
    Step,
    Target,
)

POSE = Pose("base_link", (0.1, 0.25, 0.3), (0.0, 0.0, 0.0, 1.0))
MUGS = tuple(
    Target(id_, "mug", POSE, (0.1, 0.2, 0.3), (0.08, 0.07, 0.1), (1e-6,) * 36, False, GraspHint(None, 0.07))
    for id_ in ("d0", "d1\x1b[2J")
)
ONE = Resolution("w", Status.OK, "it", target=MUGS[0])


def test_all_targets_and_places_are_printed_and_one_of_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    places = (Place(POSE, "d2", "d3", 0.021, 0.05, 0.013, 0.97), Place(POSE, "support", probability=0.9))
    terminal.resolution(dataclasses.replace(ONE, targets=MUGS, place=places[0], places=places))
    printed = capsys.readouterr().out
    for words in ("d0 mug", "d1?[2J mug", "place 1", "on d3", "margin +0.021 m", "0.013 m from the rim", "place 2",
                  "on support", "p = 0.90"):  # fmt: skip
        assert words in printed
    assert printed.count("(0.100, 0.250, 0.300) m in base_link") == 4
    terminal.resolution(dataclasses.replace(ONE, place=Place(POSE, "support")))
    printed = capsys.readouterr().out
    assert printed.count("m in base_link") == 2
    assert "d0 mug" not in printed


def test_an_answer_that_a_model_chose_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.resolution(ONE)
    assert "source" not in capsys.readouterr().out
    terminal.resolution(dataclasses.replace(ONE, source="model"))
    assert "source    a model; a person must agree" in capsys.readouterr().out
    assert told_source(ONE) == ""
    assert CHOSEN_BY_MODEL in told_source(dataclasses.replace(ONE, source="model"))
    assert told_source(Resolution("the cup", Status.AMBIGUOUS, "two", source="model")) == ""


def test_everything_that_a_reading_says_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shelf = NounPhrase("shelf", superlative="highest", frame=FrameOfReference.OBJECT)
    behind = RelationClause("behind", (shelf,), FrameOfReference.SPEAKER, True, Distance(0.2, "at least"))
    there = Destination("left of", (shelf,), FrameOfReference.WORLD, Distance(0.1))
    mug = NounPhrase("mug", ("red",), 2, None, Ordinal(3, "left"), (behind,), choice="any")
    terminal.reading(SpatialQuery("w", "place", mug, there, steps=(Step("open", shelf), Step("place", mug, there))))
    printed = capsys.readouterr().out
    for words in (
        "any 2 number 3 from the left red mug", "not behind  [at least 0.2 m]  [speaker frame]",
        "highest shelf  [object frame]", "to: left of  [about 0.1 m]  [world frame]", "step 1: open", "step 2: place",
    ):  # fmt: skip
        assert words in printed
