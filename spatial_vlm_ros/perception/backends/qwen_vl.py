# SPDX-License-Identifier: Apache-2.0
"""Backend "qwen-vl": Qwen2.5-VL and Qwen3-VL, asked in words and answering in JSON.

Qwen2.5-VL answers in pixels of the image as its processor resized it, Qwen3-VL in thousandths of each side; which of
the two is loaded is read from `model_type` in config.json. The wording of the questions is our own, near to that of the
models' documentation; it has not been measured on published weights.
A reply is data: it is parsed strictly, never evaluated, and none of it is put into another prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import FAMILIES as ROWS
from spatial_vlm_ros.perception.backends.onboard import Runner, RuntimeSettings, option, settings, yes_or_no
from spatial_vlm_ros.perception.backends.placement import on_device
from spatial_vlm_ros.perception.backends.prompts import token_limit
from spatial_vlm_ros.perception.backends.word_model import WordModel, conversation
from spatial_vlm_ros.perception.probing_backends import check_convention

if TYPE_CHECKING:
    import torch

    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

NAME = "qwen-vl"


@dataclass(frozen=True)
class Family:
    """One generation of the model: its classes in transformers and the coordinates that it answers in."""

    model_class: str
    processor_class: str
    convention: str


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "qwen2_5_vl": Family(
            "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor", ROWS["qwen2.5-vl"].convention
        ),
        "qwen3_vl": Family("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor", ROWS["qwen3-vl"].convention),
    }
)
"""`model_type` of config.json → family."""


def load(
    *,
    model: str,
    max_new_tokens: str = "1024",
    preset: str = "auto",
    probe: str = "",
    norm_dose: str = "",
    positions: str = "",
    attention: str = "",
    allow_untrained: str = "no",
    **given: str,
) -> QwenVl:
    """Load a Qwen2.5-VL or Qwen3-VL model, with the remedies that it was trained with and those asked for on it.

    Args:
        model: folder with config, safetensors weights, tokenizer and chat template, or a hub id.
        max_new_tokens: longest reply, tokens; one box takes about 40.
        preset: see onboard.PRESETS.
        probe: "yes" or "no": whether shapes at known places are asked for, to refuse a model that writes places in
            another way; as warm_up where it is left out.
        norm_dose: 0 to 1: how far norms of image tokens are moved to the mean of words (`norms.MeanNorm`);
            above 0 with allow_untrained=yes.
        positions: name of a position scheme (`position_schemes.AXES`).
        attention: what attention to the image is multiplied by: a number (ScalingVis), or the path of a calibration
            (AdaptVis) of the model that `loading.model_name` names. Questions are then asked one by one.
        allow_untrained: "yes" or "no": put on what the checkpoint was not trained with.
        **given: fields of onboard.RuntimeSettings; `batch` phrases are asked at once. `compile` goes with no remedy.

    Raises:
        InputError: an option is out of its range, or does not fit another or the model.
        FileError: a calibration cannot be read.
        UnknownNameError: no such preset or setting, no such model or position scheme, or a model of another family.
        DependencyError: torch or transformers is missing.
        ModelError: the files are incomplete or damaged, the model does not run here, or it was not trained with a
            remedy that is asked for.
        ConventionError: the model writes places in another way.
    """
    limit = token_limit(max_new_tokens)
    run = settings(preset, **given)
    if run.compile and (norm_dose or positions or attention):
        raise InputError("option compile", "yes together with a remedy", "no", "leave compile or the remedy out")
    runner = Runner(NAME, _one_by_one(run, given.get("batch", "")) if attention else run, language=True)
    loading.transformers_class("AttentionMaskInterface", model=NAME)  # what remedies need, or how to get it
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, read_attention, treat

    requested = RequestedRemedies(
        option("norm_dose", norm_dose, float) if norm_dose else None,
        positions or None,
        read_attention(attention, loading.model_name(model)) if attention else None,
        option("allow_untrained", allow_untrained, yes_or_no),
    )
    folder = loading.model_folder(model, model=NAME)
    kind = str(loading.read_json(folder / "config.json", NAME).get("model_type"))
    if kind not in FAMILIES:
        raise UnknownNameError("model_type of a Qwen-VL model", kind, FAMILIES)
    family = FAMILIES[kind]
    weights = runner.load(family.model_class, model)
    base = loading.transformers_class(family.processor_class, model=NAME)
    processor = loading.processor(model, model=NAME, cls=without_videos(base))
    applied = treat(weights, requested, folder, processor.tokenizer)
    answering = applied.answering if attention else nullcontext
    grounder = QwenVl(weights, processor, family.convention, runner, limit, answering)
    if runner.settings.warm_up:
        grounder.warm_up()
    if option("probe", probe, yes_or_no) if probe else runner.settings.warm_up:
        grounder.probed = check_convention(NAME, grounder)
    return grounder


class QwenVl(WordModel):
    """A grounder that asks a Qwen vision-language model; see WordModel.

    Args:
        model: Qwen2_5_VLForConditionalGeneration or Qwen3VLForConditionalGeneration, on the runner's device; its
            generation settings are replaced.
        processor: the processor that belongs to it.
        convention: key of CONVENTIONS in which it answers.
        runner: memory and time.
        max_new_tokens: longest reply, tokens.
        answering: gives, for the (B, N) `input_ids` of the prompts, what each call of `generate` is to be within.

    Attributes:
        probed: whether a probe has confirmed the convention.

    Raises:
        ModelError: the processor has no chat template, or the model no end-of-reply token.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        convention: str,
        runner: Runner,
        max_new_tokens: int = 1024,
        answering: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        if not processor.chat_template:
            raise ModelError(NAME, "its processor has no chat template", "give the model's whole folder")
        family = next(row for row in ROWS.values() if "qwen-vl" in row.in_process and row.convention == convention)
        prepare = QwenPrompts(processor, runner.device)
        super().__init__(NAME, model, processor, family, convention, prepare, runner, max_new_tokens, answering)

    @property
    def scorer(self) -> CandidateScorer:
        """Asks the same model questions with candidates, by likelihood; see questioning.answerer_of."""
        from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

        return CandidateScorer(
            self._model, self._processor, answering=None if self._answering is nullcontext else self._answering
        )


class QwenPrompts:
    """Makes inputs of Qwen-VL models; a PreparePrompts.

    Args:
        processor: Qwen2_5_VLProcessor or Qwen3VLProcessor.
        device: where the model runs.
    """

    def __init__(self, processor: Any, device: torch.device) -> None:
        self._processor, self._images = processor, on_device(processor.image_processor, device)

    def __call__(self, image: Any, prompts: Sequence[str], longest_px: int) -> tuple[Any, tuple[int, int]]:
        """See PreparePrompts."""
        images = self._processor.image_processor
        inputs = self._processor.apply_chat_template(
            [conversation(image, prompt) for prompt in prompts],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={
                "text_kwargs": {"padding": True, "padding_side": "left"},
                "images_kwargs": {"size": _areas(dict(images.size), image.size, longest_px), **self._images},
            },
        )
        _, down, across = (int(n) * int(images.patch_size) for n in inputs["image_grid_thw"][0])
        return inputs, (across, down)


def _one_by_one(run: RuntimeSettings, batch: str) -> RuntimeSettings:
    """The settings with a batch of 1, for attention is scaled for one prompt at a time.

    Raises:
        InputError: the option `batch` asks for more; that of a preset is lowered without a word.
    """
    if batch and run.batch > 1:
        repair = "leave batch out: attention is scaled for one question at a time"
        raise InputError("option batch", batch, "1 together with attention", repair)
    return replace(run, batch=1)


def _areas(own: Mapping[str, int], size: tuple[int, int], longest_px: int) -> dict[str, int]:
    """Least and most pixels of the resized image, which this processor calls shortest and longest edge.

    Args:
        own: the processor's.
        size: (width, height) of the image.
        longest_px: most pixels of the longest side, roughly: the processor rounds sides to its patches.
    """
    most, scale = int(own["longest_edge"]), longest_px / max(size)
    if scale < 1.0:
        most = min(most, max(1, round(size[0] * size[1] * scale**2)))
    return {"shortest_edge": min(int(own["shortest_edge"]), most), "longest_edge": most}


def without_videos(base: Any) -> Any:
    """The family's processor without its half for videos, which needs torchvision and is never used here."""

    def __init__(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **_: Any
    ) -> None:
        for kind in ("image", "video"):
            token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
            setattr(self, f"{kind}_token", token)
            setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
        super(base, self).__init__(image_processor, tokenizer, chat_template=chat_template)

    return type(base.__name__, (base,), {"__init__": __init__, "__doc__": base.__doc__})
