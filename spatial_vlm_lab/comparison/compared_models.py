# SPDX-License-Identifier: Apache-2.0
"""Models of a comparison: parsing, loading, and asking with counted questions and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spatial_vlm_lab.scoring.model_spec import ModelSpec, named_models
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.judging import RelationQuestion, judge_of
from spatial_vlm_ros.types import Rgb


@dataclass(frozen=True)
class ComparedModel(ModelSpec):
    """A model to be compared.

    Args:
        calibration: file of how its probabilities follow the truth; None = it is not fused.
    """

    calibration: Path | None = None

    def with_remedy(self, remedy: str) -> ComparedModel:
        """A copy with more options, such as "attention=1.2"; without the calibration, which does not apply to it."""
        return replace(self, options={**self.options, **parse_options(remedy)}, calibration=None)


def models_of(
    judges: Sequence[str], calibrations: Sequence[str] = (), option: str = "--judge"
) -> tuple[ComparedModel, ...]:
    """Parse models from command-line texts.

    Args:
        judges: each "BACKEND name=value …" or "NAME=BACKEND name=value …".
        calibrations: each "NAME=FILE", or "FILE" of the only judge.
    """
    models = {one.name: ComparedModel(one.name, one.backend, one.options) for one in named_models(judges, option)}
    for text in calibrations:
        before, equals, after = text.partition("=")
        name, path = (before, after) if equals and before in models else (next(iter(models)), text)
        if path == text and len(models) > 1:
            known = ", ".join(models)
            raise InputError(
                "--calibration", repr(text), f"NAME=FILE, NAME one of {known}", "name the model that it belongs to"
            )
        models[name] = replace(models[name], calibration=Path(path))
    return tuple(models.values())


# ------------------------------------------------------------------------------------------------ asking


class CountingJudge:
    """A judge of relations that counts its questions and its time; see RelationJudge.

    Attributes:
        questions: of the last call: one for each relation, or one for each prompt to a model that answers questions.
        late: whether the time was used up.
    """

    def __init__(self, model: ComparedModel) -> None:
        """Load the model.

        Raises:
            InputError, ModelError, FileError, DependencyError: as the backend's loader.
            InputError: the backend cannot be asked about relations; names what can.
        """
        started, self._prompts = time.perf_counter(), list[str]()
        backend = load_grounder(model.backend, model.options)
        judge = judge_of(_counted(backend, self._prompts))
        if judge is None:
            raise InputError(
                "--judge", f"{model.backend!r}, which does not judge relations",
                "a backend with `judge` or `answer`",
                "choose qwen-vl, server, or your own backend",
            )  # fmt: skip
        self.name, self.domain, self._judge = model.name, domain_of(backend), judge
        self.questions, self.ms, self.late, self.load_ms = 0, 0.0, False, _ms_since(started)

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        """See RelationJudge.judge."""
        started = time.perf_counter()
        try:
            return self._judge.judge(rgb, questions, budget_s)
        finally:
            self.ms = _ms_since(started)
            self.late = self.ms >= 1e3 * budget_s
            self.questions = len(self._prompts) or len(questions)


def _counted(inner: Any, prompts: list[str]) -> Any:
    """Anything that is asked questions with choices, itself or through its `scorer`; they are noted in `prompts`."""

    class Counted:
        def __getattr__(self, name: str) -> Any:
            found = getattr(inner, name)
            if name == "scorer":
                return _counted(found, prompts)
            if name not in ("answer", "scores"):
                return found

            def noted(*given: Any, **named: Any) -> Any:
                prompts.append(name)
                return found(*given, **named)

            return noted

    Counted.__name__ = type(inner).__name__  # errors name the model by its class
    return Counted()


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)
