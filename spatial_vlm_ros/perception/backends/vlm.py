# SPDX-License-Identifier: Apache-2.0
"""Backends "vlm" and "qwen-vl": vision-language models of the families in `families`, run in this process.

transformers' AutoModelForImageTextToText chooses the class from the folder's config; code in a folder is never run.
Prompts and reply formats come from the row of the family or from options. docs/remedies.md has remedies and questions
by likelihood. "qwen-vl" takes Qwen2.5-VL and Qwen3-VL, told apart by `model_type` in config.json.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.geometry.boxes import padded
from spatial_vlm_ros.perception.backends import loading, prompts
from spatial_vlm_ros.perception.backends.families import FAMILIES, ModelFamily, asked, family_box_text, warn_of_one
from spatial_vlm_ros.perception.backends.onboard import LANGUAGE_OPTIONS, Runner, on_device, settings
from spatial_vlm_ros.perception.backends.options import number, switch
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.perception.judging import Box
from spatial_vlm_ros.perception.probing import check_convention
from spatial_vlm_ros.types import ModelDomain, Rgb

if TYPE_CHECKING:
    import torch

    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
    from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies

NAME, QWEN = "vlm", "qwen-vl"
AUTO_CLASS = "AutoModelForImageTextToText"
"""Class of transformers that loads the models of all families that transformers supports."""
PROCESSORS: Mapping[str, str] = MappingProxyType(
    {
        "qwen2_vl": "Qwen2VLProcessor",
        "qwen2_5_vl": "Qwen2_5_VLProcessor",
        "qwen3_vl": "Qwen3VLProcessor",
        "qwen3_vl_moe": "Qwen3VLProcessor",
    }
)
"""`model_type` → class of the processor, whose video part is left out."""
QWEN_KINDS = ("qwen2_5_vl", "qwen3_vl")
_NO_CODE = "its code is not part of transformers, and this package never runs code that comes with a model"
_NO_CHAT = "its encoder takes one task and no conversation"
_BY_SERVER = "serve it with a program that has its code, and use the backend server"
_TOKENS = {"paligemma": ("<loc0000>", "<loc1023>")}
"""`model_type` → location tokens of the model, the first and the last."""
_WARM_UP_TOKENS = 8
_CACHE_STEP = 256  # tokens; prompts of nearly the same length share a cache size, and with it the compiled code

Inputs = tuple[Any, prompts.Size]
"""Inputs of `generate`: tensors on the CPU with B rows, padded on the left, including `input_ids`; and (width, height)
in pixels of the image as resized by the processor."""
PreparePrompts = Callable[[Any, Sequence[str], int], Inputs]
"""Turns a PIL image, B prompts about it and the most pixels of its longest side into a model's inputs."""
Answering = Callable[[Any], AbstractContextManager[Any]]
"""Gives, for the (B, N) `input_ids` of prompts, a context manager around each call of `generate`."""


class WordModel(prompts.PromptedGrounder):
    """A grounder that prompts a vision-language model in words.

    Decoding is greedy and without repetition penalty, whatever the checkpoint's own settings are, because brackets and
    digits have to repeat. The score of an object is the geometric mean probability, 0 to 1, of the tokens of the reply
    that names it, including the end token. A score written in the reply is ignored. The score says how sure the model
    was of its wording; it is not calibrated. The generation settings of the model are replaced.
    """

    domain: ModelDomain = "unknown"

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        family: ModelFamily,
        prepare: PreparePrompts,
        runner: Runner,
        max_new_tokens: int = 1024,
        answering: Answering = nullcontext,
        masks: prompts.Masks = None,
    ) -> None:
        super().__init__(name, family, CONVENTIONS[family.convention], ("max_new_tokens", max_new_tokens), masks)
        self.runner = runner
        self.model, self._processor, self._prepare, self._answering = model, processor, prepare, answering
        if getattr(processor, "image_token", None):
            loading.check_tokens(processor.tokenizer, (processor.image_token,), model, model=name)
        model.generation_config = prompts.greedy(model, processor.tokenizer, max_new_tokens)

    def warm_up(self) -> float:
        """Decode a few tokens; see Runner.warm_up."""
        prompt = self.family.every.format("object")
        return self.runner.warm_up(prompt, lambda grey: self._forward(grey, max_new_tokens=_WARM_UP_TOKENS))

    def _replies(self, rgb: Rgb, asks: Sequence[Any]) -> list[tuple[prompts.Reply, prompts.Size]]:
        return self.runner.over(asks, self._forward(rgb))

    def _forward(
        self, rgb: Rgb, **limits: Any
    ) -> Callable[[Sequence[str], int], list[tuple[prompts.Reply, prompts.Size]]]:
        """Return the function that the runner calls with a batch of prompts and a longest side."""
        from PIL import Image

        image, longest = Image.fromarray(np.ascontiguousarray(rgb)), self._limit[1]

        def forward(asks: Sequence[str], longest_px: int) -> list[tuple[prompts.Reply, prompts.Size]]:
            prepared, resized = self._prepare(image, asks, longest_px)
            inputs = prepared.to(self.runner.device, dtype=self.model.dtype, non_blocking=True)
            recorder, length = prompts.Probabilities(self.name), inputs["input_ids"].shape[1]
            if self.runner.settings.compile:
                room = math.ceil((length + longest) / _CACHE_STEP) * _CACHE_STEP
                limits.update(cache_implementation="static", max_cache_len=room)
            with self._answering(inputs["input_ids"]):
                ids = self.model.generate(**inputs, logits_processor=[recorder], **limits)
            ends, tokenizer = self.model.generation_config, self._processor.tokenizer
            marked = self.family.special_places  # special location tokens must stay; end tokens are removed
            replies = recorder.replies(ids[:, length:].tolist(), ends, tokenizer, plain=not marked)
            if marked:
                words = tokenizer.convert_ids_to_tokens([*ends.eos_token_id, ends.pad_token_id])
                shown = re.compile("|".join(map(re.escape, words)))
                replies = [replace(reply, text=shown.sub("", reply.text)) for reply in replies]
            return [(reply, resized) for reply in replies]

        return forward


class QuestionedModel(WordModel):
    """A WordModel of a class that vlm/parts.py knows; it can also be asked questions with candidate answers."""

    @property
    def scorer(self) -> CandidateScorer:
        """Scores candidates with the same model, by likelihood and with its remedies; see questioning.answerer_of."""
        from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

        question = self.family.question.replace("{}", "{question}")
        return CandidateScorer(
            self.model,
            self._processor,
            "" if self._processor.chat_template else self._processor.image_token + question,
            answering=None if self._answering is nullcontext else self._answering,
            square=self.convention.unit == "square",
            batch=self.runner.settings.batch,
        )

    def box_text(self, rgb: Rgb, box: Box) -> str:
        """Write a box as the model does, for a question about it; see judging."""
        return family_box_text(self.name, self.family, self.convention, rgb, box, self.scorer.seen_size)


@dataclass(frozen=True)
class RemedyOptions:
    """Options of remedies as texts; empty options request nothing."""

    norm_dose: str = ""
    positions: str = ""
    attention: str = ""
    allow_untrained: str = "no"

    def asked_for(self) -> dict[str, str]:
        """The options that request a remedy."""
        return {name: text for name, text in asdict(self).items() if text and name != "allow_untrained"}

    def runner(self, name: str, preset: str, given: Mapping[str, str]) -> Runner:
        """Make the model's runner; with scaled attention it takes one prompt at a time."""
        run = settings(preset, **given)
        switch("allow_untrained", self.allow_untrained)
        if run.compile and self.asked_for():
            raise InputError("option compile", "yes together with a remedy", "no", "leave compile or the remedy out")
        if self.attention and given.get("batch") and run.batch > 1:
            repair = "leave batch out: attention is scaled for one question at a time"
            raise InputError("option batch", given["batch"], "1 together with attention", repair)
        return Runner(name, replace(run, batch=1) if self.attention else run, language=True)

    def requested(self, name: str, model: str) -> RequestedRemedies:
        """Return the requested remedies as values; a calibration has to belong to the model, a folder or hub id."""
        loading.transformers_class("AttentionMaskInterface", model=name)  # raises with install advice
        from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, read_attention

        return RequestedRemedies(
            number("norm_dose", self.norm_dose, float, 0.0, 1.0) if self.norm_dose else None,
            self.positions or None,
            read_attention(self.attention, loading.model_name(model)) if self.attention else None,
            switch("allow_untrained", self.allow_untrained),
        )


def load_qwen(
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
) -> WordModel:
    """Load a model with the remedies that it was trained with and the requested ones. Options: docs/backends.md."""
    limit = number("max_new_tokens", max_new_tokens, int, 1, prompts.MOST_TOKENS)
    remedies = RemedyOptions(norm_dose, positions, attention, allow_untrained)
    runner, requested = remedies.runner(QWEN, preset, given), remedies.requested(QWEN, model)
    config = _config(model, QWEN)
    kind = str(config.get("model_type"))
    if kind not in QWEN_KINDS:
        raise UnknownNameError("model_type of a Qwen-VL model", kind, QWEN_KINDS)
    _class_of(config, model, runner)
    row = next(row for row in FAMILIES.values() if kind in row.model_types)
    return _loaded(runner, model, row, limit, requested, probe)


def load(
    *,
    model: str,
    family: str = "",
    prompt: str = "",
    convention: str = "",
    masks: str = "",
    masks_model: str = "",
    max_new_tokens: str = "1024",
    preset: str = "auto",
    probe: str = "",
    norm_dose: str = "",
    positions: str = "",
    attention: str = "",
    allow_untrained: str = "no",
    **given: str,
) -> WordModel:
    """Load a model with the remedies that it was trained with and the requested ones. Options: docs/backends.md."""
    limit = number("max_new_tokens", max_new_tokens, int, 1, prompts.MOST_TOKENS)
    remedies = RemedyOptions(norm_dose, positions, attention, allow_untrained)
    runner, config = remedies.runner(NAME, preset, given), _config(model, NAME)
    kind, name = str(config.get("model_type")), loading.model_name(model)
    row = asked(name, family=family, prompt=prompt, convention=convention, model_type=kind)
    if row is None:
        raise InputError("option prompt", "nothing", "a text with {}", f"set prompt, or family: {', '.join(FAMILIES)}")
    if row.name in FAMILIES and NAME not in row.in_process:
        repair = f"use the backend {row.in_process[0]}" if row.in_process else _BY_SERVER
        reason = f"{name} is of the family {row.name}: {_NO_CODE if row.chat else _NO_CHAT}"
        raise ModelError(NAME, reason, repair)
    takes_remedies = _takes_remedies(config, _class_of(config, name, runner).__name__, remedies)
    requested = remedies.requested(NAME, model) if takes_remedies else None
    warn_of_one(row, model)
    shared = {name: value for name, value in given.items() if name not in LANGUAGE_OPTIONS}
    mask_model = prompts.mask_model_of(masks, masks_model, row, preset=preset, **shared)
    return _loaded(runner, model, row, limit, requested, probe, mask_model)


def _config(model: str, name: str) -> dict[str, Any]:
    return loading.read_json(loading.model_folder(model, model=name) / "config.json", name)


def _class_of(config: Mapping[str, Any], model: str, runner: Runner) -> Any:
    """Return the class of transformers for a config.json; refuses settings that it does not support."""
    loading.transformers_class(AUTO_CLASS, model=runner.model)
    names = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    kind = str(config.get("model_type"))
    if kind not in names:
        version = importlib.import_module("transformers").__version__
        reason = f"transformers {version} has no code for the model_type {kind!r} of {model}"
        reason += ", and this package never runs code that comes with a model" if "auto_map" in config else ""
        raise ModelError(runner.model, reason, f"{_BY_SERVER}, or update transformers")
    cls = loading.transformers_class(names[kind], model=runner.model)
    runner.check_class(cls)
    return cls


def _takes_remedies(config: Mapping[str, Any], cls: str, options: RemedyOptions) -> bool:
    """Whether a class supports remedies and questions by likelihood; if not, remedies are refused."""
    from spatial_vlm_ros.vlm.parts import ARCHITECTURES
    from spatial_vlm_ros.vlm.remedies.learned import FIELD

    if config.get("model_type") in ARCHITECTURES:
        return True
    repair = f"leave it out, or use a model of one of the classes {', '.join(ARCHITECTURES)}"
    for name, text in options.asked_for().items():
        got = f"{text} for a model of class {cls}, which cannot take it"
        raise InputError(f"option {name}", got, "no remedy for this class", repair)
    if marks := config.get(FIELD):
        named = ", ".join(marks) if isinstance(marks, Mapping) else repr(marks)
        reason = f"it was trained with {named}, which cannot be applied to its class {cls}: its parts are not named"
        raise ModelError(NAME, reason, "name its parts in vlm/parts.py, or load a checkpoint trained without")
    return False


def _loaded(
    runner: Runner,
    model: str,
    row: ModelFamily,
    limit: int,
    requested: RequestedRemedies | None,
    probe: str,
    masks: prompts.Masks = None,
) -> WordModel:
    """Load a model, apply remedies (None = its class is not known), warm it up and probe it, as the options say."""
    name, folder = runner.model, loading.model_folder(model, model=runner.model)
    kind = str(_config(model, name).get("model_type"))
    processor = loading.processor(model, model=name, cls=processor_class(kind, name))  # tells first what is missing
    prepare = _preparation(name, processor, kind, row, runner.device)
    weights = runner.load(AUTO_CLASS, model)
    loading.check_tokens(processor.tokenizer, _TOKENS.get(kind, ()), weights, model=name)
    answering: Answering = nullcontext
    made: type[WordModel] = WordModel
    if requested is not None:
        from spatial_vlm_ros.vlm.remedies.requested import treat

        applied = treat(weights, requested, folder, processor.tokenizer)
        answering = nullcontext if requested.attention is None else applied.answering
        made = QuestionedModel if processor.chat_template or row.question else WordModel
    grounder = made(name, weights, processor, row, prepare, runner, limit, answering, masks)
    grounder.domain = loading.learnt_from(folder)
    if runner.settings.warm_up:
        grounder.warm_up()
    if switch("probe", probe) if probe else runner.settings.warm_up:
        grounder.probed = check_convention(name, grounder)
    return grounder


def _preparation(name: str, processor: Any, kind: str, row: ModelFamily, device: torch.device) -> PreparePrompts:
    from spatial_vlm_ros.vlm.diagnostics.candidates import cuts_sides

    images, unit = on_device(processor.image_processor, device), CONVENTIONS[row.convention].unit
    if kind not in PROCESSORS and unit == "resized":
        repair = "set convention=absolute if its pixels are those of the input image"
        raise InputError("option convention", row.convention, f"another one for a model of type {kind}", repair)

    def plain(image: Any, asks: Sequence[str], longest_px: int) -> Inputs:
        """Without chat template (PaliGemma)."""
        shown = _reduced(image, longest_px)
        texts = [f"{processor.image_token}{ask}" for ask in asks]
        inputs = processor(images=[[shown]] * len(asks), text=texts, padding=True, padding_side="left", **images)
        inputs.pop("labels", None)  # training labels
        return inputs.convert_to_tensors("pt"), shown.size

    def qwen(image: Any, asks: Sequence[str], longest_px: int) -> Inputs:
        prepare = processor.image_processor
        own, (width, height) = dict(prepare.size), image.size
        most, scale = int(own["longest_edge"]), longest_px / max(width, height)
        if scale < 1.0:  # roughly: the processor rounds sides to its patches
            most = min(most, max(1, round(width * height * scale**2)))
        # least and most pixels of the resized image; this processor calls them shortest and longest edge
        size = {"shortest_edge": min(int(own["shortest_edge"]), most), "longest_edge": most}
        inputs = _chats(processor, image, asks, {"size": size, **images})
        _, down, across = (int(n) * int(prepare.patch_size) for n in inputs["image_grid_thw"][0])
        return inputs, (across, down)

    def chat(image: Any, asks: Sequence[str], longest_px: int) -> Inputs:
        """Of the image or of the square that it is padded to."""
        if unit == "square":
            from PIL import Image

            image = Image.fromarray(padded(np.asarray(image.convert("RGB"))))
        shown = _reduced(image, longest_px)
        return _chats(processor, shown, asks, images), shown.size

    if kind == "paligemma":
        return plain
    if kind not in PROCESSORS and unit != "square" and cuts_sides(processor.image_processor):
        got = f"{row.convention}, with a processor that crops the sides of an image"
        repair = "set convention=square-fraction if the model was trained on padded images"
        raise InputError("option convention", got, "the whole image in a square", repair)
    if not processor.chat_template:
        raise ModelError(name, "its processor has no chat template", "pass the model's whole folder")
    return qwen if kind in PROCESSORS else chat


def _reduced(image: Any, longest_px: int) -> Any:
    """Shrink a PIL image whose longest side has more than `longest_px` pixels."""
    scale = longest_px / max(image.size)
    return image if scale >= 1.0 else image.resize(tuple(max(1, round(side * scale)) for side in image.size))


def _chats(processor: Any, image: Any, asks: Sequence[str], images: Mapping[str, Any]) -> Any:
    """Make the inputs of chats with one image and one prompt each, the image first, with the chat template."""
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": ask}]}]
        for ask in asks
    ]
    return processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"text_kwargs": {"padding": True, "padding_side": "left"}, "images_kwargs": images},
    )


def processor_class(kind: str, model: str) -> str | type[Any]:
    """Return what loads the processor of a `model_type`, without its video part."""
    if kind == "internvl":
        return _internvl_without_videos(loading.transformers_class("InternVLProcessor", model=model))
    if kind not in PROCESSORS:
        return "AutoProcessor"
    return without_videos(loading.transformers_class(PROCESSORS[kind], model=model))


def without_videos(base: Any) -> Any:
    """Return the Qwen-VL processor without its video part, which needs torchvision and is never used here."""

    def __init__(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **_: Any
    ) -> None:
        for kind in ("image", "video"):
            token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
            setattr(self, f"{kind}_token", token)
            setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
        super(base, self).__init__(image_processor, tokenizer, chat_template=chat_template)

    return type(base.__name__, (base,), {"__init__": __init__, "__doc__": base.__doc__})


def _internvl_without_videos(base: Any) -> Any:
    def __init__(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        super(base, self).__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_seq_length = image_seq_length
        for kind in ("start_image", "end_image"):
            setattr(self, f"{kind}_token", getattr(tokenizer, f"{kind}_token"))
            setattr(self, f"{kind}_token_id", getattr(tokenizer, f"{kind}_token_id"))
        self.image_token, self.image_token_id = tokenizer.context_image_token, tokenizer.context_image_token_id
        self.video_token = tokenizer.video_token
        self.multimodal_pattern = re.compile(
            f"(?P<image>{re.escape(self.image_token)})|(?P<video>{re.escape(self.video_token)})"
        )

    return type(base.__name__, (base,), {"__init__": __init__, "__doc__": base.__doc__})
