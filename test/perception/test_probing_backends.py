# SPDX-License-Identifier: Apache-2.0
"""Backends that keep to their convention of places start; those that do not are refused, with the evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.probing_backends import ConventionError, Writer, check_convention, probe_grounder
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

Box = tuple[float, float, float, float]


def seen(rgb: Rgb) -> Box:
    """The box of what differs from the corner, pixels."""
    rows, columns = (np.flatnonzero((rgb != rgb[0, 0]).any(axis=2).any(axis=axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


class Written:
    """Sees the shape and writes its box in thousandths, whatever it is said to write."""

    def __init__(self, stated: str = "thousand", blind: bool = False) -> None:
        self.convention: Convention = CONVENTIONS[stated]
        self.blind = blind

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        raise AssertionError(f"its words are probed, not its boxes: {rgb.shape} {phrases}")

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        assert words.startswith("the ")
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = np.array(seen(rgb)) / (width, height, width, height) * 1000
        box = [500, 500, 500, 500] if self.blind else [round(v) for v in (x0, y0, x1, y1)]
        return json.dumps([{"bbox_2d": box, "label": words}]), (width // 28 * 28, height // 28 * 28)


class Boxes:
    """A grounder of somebody's own, whose boxes are in pixels or, by mistake, in thousandths."""

    def __init__(self, scale: Callable[[tuple[int, int]], tuple[float, float]]) -> None:
        self.scale = scale

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        assert phrases[0].attributes[0] in ("red", "blue", "green")
        across, down = self.scale((rgb.shape[1], rgb.shape[0]))
        x0, y0, x1, y1 = seen(rgb)
        wrong = Detection("0", "cup", 0.9, (0.0, 0.0, 5.0, 5.0))
        right = Detection("1", phrases[0].category, 0.6, (x0 * across, y0 * down, x1 * across, y1 * down))
        return Grounding((wrong, right), label_match(phrases, (wrong, right)))


def in_pixels() -> Boxes:
    return Boxes(lambda _: (1.0, 1.0))


def test_a_model_that_writes_as_stated_starts_and_answers_that_do_not_tell_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert isinstance(Written(), Writer)
    check_convention("tiny", Written())
    assert caplog.records == []
    check_convention("tiny", Written(blind=True))
    warned = "it is not confirmed that it writes places as thousand: the answer is the same for every image"
    assert warned in caplog.text


@pytest.mark.parametrize("stated", ["absolute", "resized-absolute", "percent", "thousand-yx"])
def test_a_model_that_writes_otherwise_is_refused_with_the_evidence(stated: str) -> None:
    with pytest.raises(ConventionError, match=f"not write places as {stated}.*Set convention=thousand") as caught:
        check_convention("tiny", Written(stated))
    assert caught.value.verdict.outcome == "refuted"
    assert len(caught.value.verdict.trials) == 18


def test_boxes_of_any_grounder_have_to_be_in_pixels() -> None:
    class Nothing:
        def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
            return Grounding((), label_match(phrases, ()))

    assert probe_grounder(in_pixels()).outcome == "confirmed"
    with pytest.raises(ConventionError, match="as absolute: thousand explains 18 of 18"):
        check_convention("own", Boxes(lambda size: (1000 / size[0], 1000 / size[1])))
    verdict = probe_grounder(Nothing())
    assert verdict.outcome == "undecided"
    assert "18 of 18 answers have no place" in verdict.reason


def test_a_model_that_fails_is_not_a_convention() -> None:
    class Failing(Written):
        def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
            raise ModelError("tiny", f"no {words} in {rgb.shape}", "Fix the backend")

    with pytest.raises(ModelError, match="no the red rectangle") as caught:
        check_convention("tiny", Failing())
    assert not isinstance(caught.value, ConventionError)


def test_the_command_shows_the_evidence_and_ends_with_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)

    def probe(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["probe", *arguments])
        return result.exit_code, result.output

    code, said = probe(f"{__name__}:Written", "--grounder-options", "stated=thousand")
    assert code == 0
    assert "18 of 18" in said
    assert said.splitlines()[-1] == "thousand: confirmed: thousand explains 18 of 18 answers"
    code, said = probe(f"{__name__}:Written", "--grounder-options", "stated=percent", "--json")
    assert code == 3
    told = json.loads(said)
    assert (told["outcome"], told["actual"]["name"]) == ("refuted", "thousand")
    assert probe(f"{__name__}:in_pixels")[0] == 0
    code, said = probe("nonsense")
    assert code == 3
    assert "qwen-vl" in said
