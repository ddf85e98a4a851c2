# SPDX-License-Identifier: Apache-2.0
"""Shared by the backends "vlm" and "qwen-vl": a model with remedies that answers in words, as grounder and as judge.

Remedies and questions by likelihood need a class that vlm/parts.py knows. A model of another class can only answer in
words: a remedy that is requested for it, or that its checkpoint was trained with, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import ModelFamily
from spatial_vlm_ros.perception.backends.onboard import Runner, RuntimeSettings, option, settings, yes_or_no
from spatial_vlm_ros.perception.backends.word_model import WordModel
from spatial_vlm_ros.perception.backends.written_boxes import family_box_text
from spatial_vlm_ros.perception.probing_backends import check_convention
from spatial_vlm_ros.perception.relation_marks import Box
from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies

_KNOWN_CLASSES = "leave it out, or use a model of one of the classes {}"


@dataclass(frozen=True)
class RemedyOptions:
    """Options of remedies as texts; empty options request nothing.

    Args:
        norm_dose: 0 to 1.
        allow_untrained: "yes" or "no".
    """

    norm_dose: str = ""
    positions: str = ""
    attention: str = ""
    allow_untrained: str = "no"

    def asked_for(self) -> tuple[str, ...]:
        """Names of the options that request a remedy."""
        return tuple(name for name, text in asdict(self).items() if text and name != "allow_untrained")

    def runner(self, name: str, preset: str, given: Mapping[str, str]) -> Runner:
        """Make the model's runner; with scaled attention it takes one prompt at a time.

        Args:
            preset: see onboard.PRESETS.
        """
        run = settings(preset, **given)
        option("allow_untrained", self.allow_untrained, yes_or_no)
        if run.compile and self.asked_for():
            raise InputError("option compile", "yes together with a remedy", "no", "leave compile or the remedy out")
        return Runner(name, _one_by_one(run, given.get("batch", "")) if self.attention else run, language=True)

    def requested(self, name: str, model: str) -> RequestedRemedies:
        """Return the requested remedies as values.

        Args:
            model: folder or hub id; a calibration has to belong to it.
        """
        loading.transformers_class("AttentionMaskInterface", model=name)  # raises with install advice
        from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, read_attention

        return RequestedRemedies(
            option("norm_dose", self.norm_dose, float) if self.norm_dose else None,
            self.positions or None,
            read_attention(self.attention, loading.model_name(model)) if self.attention else None,
            option("allow_untrained", self.allow_untrained, yes_or_no),
        )


class QuestionedModel(WordModel):
    """A WordModel of a class that vlm/parts.py knows; it can also be asked questions with candidate answers."""

    @property
    def scorer(self) -> CandidateScorer:
        """Scores candidates with the same model, by likelihood and with its remedies; see questioning.answerer_of."""
        from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

        return CandidateScorer(
            self._model,
            self._processor,
            _template(self._processor, self.family),
            answering=None if self._answering is nullcontext else self._answering,
            square=self.convention.unit == "square",
            batch=self.runner.settings.batch,
        )

    def box_text(self, rgb: Rgb, box: Box) -> str:
        """Write a box as the model does, for a question about it; see relation_marks."""
        return family_box_text(self.name, self.family, self.convention, rgb, box, self.scorer.seen_size)


def has_parts(kind: str) -> bool:
    """Whether remedies and questions by likelihood support a `model_type`; needs torch."""
    from spatial_vlm_ros.vlm.parts import ARCHITECTURES

    return kind in ARCHITECTURES


def refuse_remedies(name: str, config: Mapping[str, Any], cls: str, options: RemedyOptions) -> None:
    """Refuse remedies on a model of an unknown class.

    Args:
        config: content of the model's config.json.
    """
    from spatial_vlm_ros.vlm.parts import ARCHITECTURES
    from spatial_vlm_ros.vlm.remedies.marking import FIELD

    repair = _KNOWN_CLASSES.format(", ".join(ARCHITECTURES))
    for option_name in options.asked_for():
        got = f"{getattr(options, option_name)} for a model of class {cls}, which cannot take it"
        raise InputError(f"option {option_name}", got, "no remedy for this class", repair)
    marks = config.get(FIELD)
    if marks:
        named = ", ".join(marks) if isinstance(marks, Mapping) else repr(marks)
        reason = f"it was trained with {named}, which cannot be applied to its class {cls}: its parts are not named"
        raise ModelError(name, reason, "name its parts in vlm/parts.py, or load a checkpoint trained without")


def finished(
    name: str,
    weights: Any,
    processor: Any,
    row: ModelFamily,
    prepare: Any,
    runner: Runner,
    limit: int,
    *,
    folder: Path,
    requested: RequestedRemedies | None,
    probe: str = "",
    masks: Any = None,
) -> WordModel:
    """Make the grounder: apply remedies to its model, warm it up and probe it, as the options say.

    Args:
        requested: requested remedies; None = the class of the model is not known.
        probe: option; "" = as warm_up.
    """
    answering: Callable[[Any], AbstractContextManager[Any]] = nullcontext
    made: type[WordModel] = WordModel
    if requested is not None:
        from spatial_vlm_ros.vlm.remedies.requested import treat

        applied = treat(weights, requested, folder, processor.tokenizer)
        answering = nullcontext if requested.attention is None else applied.answering
        made = QuestionedModel if processor.chat_template or row.question else WordModel
    grounder = made(
        name, weights, processor, row, row.convention, prepare, runner, limit, answering=answering, masks=masks
    )
    grounder.domain = loading.learnt_from(folder)
    if runner.settings.warm_up:
        grounder.warm_up()
    if option("probe", probe, yes_or_no) if probe else runner.settings.warm_up:
        grounder.probed = check_convention(name, grounder)
    return grounder


def check_chat_template(name: str, processor: Any) -> None:
    """Refuse a processor without a chat template; raises ModelError."""
    if not processor.chat_template:
        raise ModelError(name, "its processor has no chat template", "pass the model's whole folder")


def _template(processor: Any, row: ModelFamily) -> str:
    """Template of a question for a processor without a chat template; empty for other processors."""
    return "" if processor.chat_template else processor.image_token + row.question.replace("{}", "{question}")


def _one_by_one(run: RuntimeSettings, batch: str) -> RuntimeSettings:
    """Set the batch to 1, because attention is scaled for one prompt at a time."""
    if batch and run.batch > 1:
        repair = "leave batch out: attention is scaled for one question at a time"
        raise InputError("option batch", batch, "1 together with attention", repair)
    return replace(run, batch=1)
