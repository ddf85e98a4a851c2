# SPDX-License-Identifier: Apache-2.0
"""Sentences on rendered tables: every one in sentences.txt means what it says there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rendered_tables import Table, meant, without_attributes

from spatial_vlm_ros.types import Resolution


def read() -> dict[str, dict[str, str]]:
    """What sentences mean, by the line of their scene."""
    found: dict[str, dict[str, str]] = {}
    scene = ""
    for line in Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            words, _, expected = line.strip().partition(" -> ")
            found[scene][words] = expected
        elif line and not line.startswith("#"):
            scene = line
            assert found.setdefault(scene, {}) == {}, "a scene that is there already"
    return found


SENTENCES = read()


def assert_refused(answer: Resolution, named: str) -> None:
    assert answer.code == answer.status.code
    assert answer.message
    assert named in answer.message
    assert (answer.target, answer.place) == (None, None)
    assert (answer.question is None) == (answer.dialogue_id is None)


def assert_answered(answer: Resolution) -> None:
    assert (answer.code, answer.target, answer.place, answer.message) == (1, None, None, answer.answer.words)
    if answer.answer.value in ("yes", "no"):
        assert answer.answer.probability >= 0.85
        assert answer.answer.words.startswith(answer.answer.value.capitalize())


@pytest.mark.parametrize("scene", SENTENCES, ids=lambda scene: scene.replace("|", "")[:40])
def test_sentences_mean(tabletop: Table, scene: str) -> None:
    bodies, _, options = scene.partition("|")
    numbers = [word.split("=") for word in options.split() if "=" in word]
    view: dict[str, Any] = {name: tuple(map(float, value.split(","))) for name, value in numbers}
    if "pitch" in view:
        view["eye"] = tabletop.pitched(*view.pop("pitch"))
    seen = tabletop.scene(bodies, **view)
    given = [] if "only" in options else [seen.detections]
    given += [tabletop.boxes_only(seen.detections)] if "boxes" in options else []
    given += [without_attributes(seen.detections)] if "plain" in options else []
    frame = tabletop.without_pose(seen.frame) if "no pose" in options else seen.frame
    for detections in given:
        answers = {words: tabletop.ask(seen, words, detections, frame) for words in SENTENCES[scene]}
        expected = {words: said.partition(": ")[0] for words, said in SENTENCES[scene].items()}
        assert {words: meant(answer) for words, answer in answers.items()} == expected
        for words, answer in answers.items():
            if answer.answer is not None:
                assert_answered(answer)
            elif answer.target is None:
                assert_refused(answer, SENTENCES[scene][words].partition(": ")[2])
