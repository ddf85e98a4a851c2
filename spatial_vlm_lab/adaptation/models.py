# SPDX-License-Identifier: Apache-2.0
"""Settings of an adaptation; models loaded, given another encoder, remedies and LoRA, frozen but for these, and saved.

Another vision encoder in a LLaVA model shows the effect of the encoder's training data in spatial tests ("Spatial
Blindspot", arXiv 2601.09954: CLIP, SigLIP, SigLIP 2, AIMv2). Three details differ between the classes of transformers:

- Only CLIP has a class token; the strategy "default" drops the first token and "full" keeps all. With the right
  strategy the number of image tokens is the same for all encoders.
- SigLIP and AIMv2 have a pooling head that LLaVA never uses; here they are created without it.
- SigLIP 2 of a fixed size uses the class of SigLIP (`siglip_vision_model`) with other weights. Of a variable size
  ("NaFlex", `Siglip2VisionModel`) it needs patches, a mask and the shape of each grid, which
  `LlavaForConditionalGeneration` does not pass on.

Each checkpoint needs images with the mean and deviation of its own image processor.

LoRA (Hu et al. 2021, arXiv 2106.09685) on the attention of the language model is that of the package peft, merged at
the end. An adapted model is a plain transformers checkpoint with the marks and trained tensors of its remedies.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from spatial_vlm_ros.errors import DependencyError, FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install as install_command
from spatial_vlm_ros.files.documents import read_json
from spatial_vlm_ros.files.writing import write_json
from spatial_vlm_ros.perception.backends import loading, onboard
from spatial_vlm_ros.perception.backends.vlm import processor_class
from spatial_vlm_ros.vlm.parts import ARCHITECTURES, Parts, parts_of
from spatial_vlm_ros.vlm.remedies import features, norms, pin
from spatial_vlm_ros.vlm.remedies.learned import (
    FIELD,
    TABLE_FILE,
    LearnedPositions,
    load_learned,
    mark,
    save_learned,
    trained_with,
)
from spatial_vlm_ros.vlm.remedies.pin import WITH_PATCHES
from spatial_vlm_ros.vlm.remedies.positions import AXES, Positions, install, mark_trained
from spatial_vlm_ros.vlm.remedies.positions import NAME as POSITIONS
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

NORMS = ("published", "none")
SWAPPABLE = "llava"
"""`model_type` of the class whose encoder and feature layers can be exchanged."""


@dataclass(frozen=True)
class MethodRates:
    """Published or chosen settings of a method.

    Args:
        rate: highest learning rate of the main modules: projector, LoRA, PIN, or CLOC's new modules.
        second: rate of the rest: the projector beside LoRA, the encoder of CLOC; 0 = there is none.
        warm: share of the steps in which the rate rises; a half cosine follows. None: the rate stays the same.
        places: share of lessons that ask for the location of an object.
    """

    rate: float
    second: float
    warm: float | None
    betas: tuple[float, float]
    decay: float
    places: float


METHODS: Mapping[str, MethodRates] = MappingProxyType(
    {
        "projector": MethodRates(1e-3, 0.0, 0.03, (0.9, 0.999), 0.0, 0.25),
        "lora": MethodRates(2e-4, 2e-5, 0.03, (0.9, 0.999), 0.0, 0.25),
        "pin": MethodRates(1e-3, 0.0, None, (0.9, 0.999), 0.0, 1.0),
        "cloc": MethodRates(5e-4, 1e-5, 0.03, (0.9, 0.98), 0.2, 0.0),
    }
)
"""Method → its rates; docs/adapt.md has their sources."""


@dataclass(frozen=True)
class AdaptSettings:
    """Settings of an adaptation; only `rate`, `micro` and `checkpointing` may change during a run."""

    method: str
    positions: str | None = None  # a key of `positions.AXES`; None = as in the base
    norm: str = "none"
    features: tuple[int, ...] = ()  # layers of the encoder, counted as hidden states; empty = as in the base
    new_encoder: bool = False
    steps: int = 2000
    batch: int = 16  # lessons per step; for CLOC images
    seed: int = 0
    rank: int = 16
    rate: float | None = None  # highest; None = that of METHODS
    micro: int = 1  # lessons per forward pass; the gradient is that of the whole batch
    checkpointing: bool = False

    def __post_init__(self) -> None:
        scheme = "1d" if self.positions is None else self.positions
        for what, name, known in (("norm", self.norm, NORMS), ("position scheme", scheme, AXES)):
            if name not in known:
                raise UnknownNameError(what, name, known)
        taken, why = {
            "pin": ([], "which leaves the base as it is"),
            "cloc": (["--encoder"], "which trains only an encoder"),
        }.get(self.method, (self.changes, ""))
        wrong = [name for name in self.changes if name not in taken]
        if wrong:
            raise InputError(f"--method {self.method}", " ".join(wrong), "none of them", f"leave them out: {why}")

    @property
    def changes(self) -> list[str]:
        """The options that are given and change a part of the base."""
        given = {
            "--positions": self.positions is not None,
            "--norm published": self.norm == "published",
            "--features": bool(self.features),
            "--encoder": self.new_encoder,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def rates(self) -> MethodRates:
        """Rates of the method."""
        return METHODS[self.method]

    @property
    def highest(self) -> tuple[float, float]:
        """Highest learning rates of the first and second group; a given `rate` scales both.

        A new projector beside LoRA has the rate of the projector method, because it is trained from scratch.
        """
        own = self.rates
        anew = self.method == "lora" and (self.new_encoder or bool(self.features))
        scale = 1.0 if self.rate is None else self.rate / own.rate
        return own.rate * scale, (METHODS["projector"].rate if anew else own.second) * scale

    def factor(self, step: int) -> float:
        """Factor of the highest rate at a step, counted from 0."""
        if self.rates.warm is None:
            return 1.0
        warm = max(1, round(self.rates.warm * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def check_fits(self, kind: str) -> None:
        """Refuse options that a class of models does not support."""
        own = "its encoder comes with its projector" if kind == "paligemma" else "its encoder takes images of any size"
        wrong = [name for name in self.changes if name in ("--encoder", "--features")]
        wrong += ["--method cloc"] if self.method == "cloc" and not self.new_encoder else []
        if wrong and kind != SWAPPABLE:
            repair = f"leave {' and '.join(wrong)} out, or use a base of the class {SWAPPABLE}"
            raise ModelError(kind, f"does not accept {' and '.join(wrong)}: {own}", repair)
        if self.method == "pin" and kind not in WITH_PATCHES:
            takes = "--method projector or lora, with --norm and --positions"
            repair = f"use {takes}, or a base of {', '.join(WITH_PATCHES)}"
            raise ModelError(kind, f"does not accept a positional insert (PIN): {own}", repair)


_ENCODERS: Mapping[str, tuple[str, Mapping[str, bool], str]] = MappingProxyType(
    {
        "clip": ("CLIPVisionModel", {}, "default"),
        "siglip": ("SiglipVisionModel", {"vision_use_head": False}, "full"),
        "aimv2": ("Aimv2VisionModel", {"use_head": False}, "full"),
    }
)
"""`model_type`, of an encoder with _VISION behind it → class, arguments that leave out the pooling head, strategy.

`siglip` includes SigLIP 2 of fixed size.
"""
_VISION = "_vision_model"
_ENCODER_REPAIR = "pass the folder of a CLIP, SigLIP, SigLIP 2 (fixed size) or AIMv2 encoder, or one of --method cloc"
_LORA = "adapted"
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
_LEFT = ("README.md", "adaptation.json", "calibration.json", "config.json")
"""Files of a base that are not its weights, tokenizer or processor, or that are written again."""


# ------------------------------------------------------------------------------------------------ loading


def base_kind(folder: Path) -> str:
    """Return the `model_type` of a model folder, a key of `parts.ARCHITECTURES`."""
    if not folder.is_dir():
        raise FileError(folder, "no such folder", "pass the folder of a model: config.json, safetensors and processor")
    kind = _kind_of(folder)
    if kind not in ARCHITECTURES:
        raise UnknownNameError("model_type of BASE", kind, ARCHITECTURES)
    return kind


def _kind_of(folder: Path) -> str:
    return str(loading.read_json(folder / "config.json", str(folder)).get("model_type"))


def training_dtype(device: torch.device) -> torch.dtype:
    """Choose the number format of frozen weights: bfloat16 on a GPU that has it, else float32 (float16 overflows)."""
    found = onboard.best_dtype(device, "auto", language=True)
    return torch.float32 if found is torch.float16 else found


def load_base(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the model and the processor of a folder."""
    kind, name = base_kind(folder), str(folder)
    model = loading.pretrained("AutoModelForImageTextToText", name, model=name, device=device, dtype=dtype)
    return model, loading.processor(name, model=name, cls=processor_class(kind, name))


def load_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load a vision encoder, without its text half and pooling head, and its image processor."""
    if not folder.is_dir():
        raise FileError(folder, "no such folder", _ENCODER_REPAIR)
    name = str(folder)
    cls, without, _ = _encoder(_kind_of(folder))
    found = loading.transformers_class(cls, model=name)
    config = found.config_class.from_pretrained(folder, local_files_only=True)
    for option, value in without.items():
        setattr(config, option, value)
    vision = loading.pretrained(found, name, model=name, device=device, dtype=dtype, arguments={"config": config})
    try:
        images = loading.transformers_class("AutoImageProcessor", model=name).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = f"{folder} has no readable image processor: {loading.short(error)}"
        raise ModelError(name, reason, "add the encoder's preprocessor_config.json") from error
    return vision, images


def load_encoder_of(base: Path, encoder: Path | None, device: torch.device) -> tuple[Any, Any]:
    """Load an encoder and its image processor for training it alone: from its own folder, else from a LLaVA model."""
    if encoder is None and (base / "config.json").is_file() and _kind_of(base) == SWAPPABLE:
        model, processor = load_base(base, device, torch.float32)
        return model.model.vision_tower, processor.image_processor
    return load_encoder(encoder or base, device, torch.float32)


def fingerprint(folder: Path) -> str:
    """Identify a checkpoint without reading its weights: a hash of config.json and of the file sizes."""
    files = sorted((file.name, file.stat().st_size) for file in loading.weight_files(folder) if file.is_file())
    told = json.dumps([loading.read_json(folder / "config.json", str(folder)), files], sort_keys=True)
    return f"{folder.name} {hashlib.sha256(told.encode()).hexdigest()[:16]}"


# ------------------------------------------------------------------------------------------------ encoders


def _encoder(kind: str) -> tuple[str, Mapping[str, bool], str]:
    if kind.startswith("siglip2"):
        reason = "takes patches, a mask and grid shapes (NaFlex), which LLaVA does not pass on"
        raise ModelError(kind, reason, _ENCODER_REPAIR)
    if kind.removesuffix(_VISION) not in _ENCODERS:
        raise ModelError(kind, "is not a vision encoder that LLaVA supports", _ENCODER_REPAIR)
    return _ENCODERS[kind.removesuffix(_VISION)]


def select_strategy(config: Any) -> str:
    """Return the `vision_feature_select_strategy` that keeps exactly the patches."""
    return _encoder(str(config.model_type))[2]


def with_encoder(config: Any, vision: Any) -> Any:
    """Copy a LLaVA configuration with another vision encoder, its strategy and its number of image tokens."""
    if not isinstance(config, LlavaConfig):
        raise ModelError(str(config.model_type), "is not of the class llava", "use a LlavaConfig")
    strategy, depth = select_strategy(vision), int(vision.num_hidden_layers)
    layer = config.vision_feature_layer
    if any(not -depth - 1 <= one <= depth for one in ([layer] if isinstance(layer, int) else layer)):
        reason = f"its {depth} layers do not have the vision_feature_layer {layer}"
        raise ModelError(str(vision.model_type), reason, "choose layers that both encoders have")
    changed = deepcopy(config)
    changed.vision_config = deepcopy(vision)
    changed.vision_feature_select_strategy = strategy
    changed.image_seq_length = _side(vision) ** 2
    return changed


def show_whole_images(images: Any, vision: Any) -> None:
    """Make an image processor squash the whole image into the encoder's square instead of cropping its sides."""
    side = int(vision.image_size)
    images.do_resize, images.size, images.do_center_crop = True, {"height": side, "width": side}, False
    if getattr(images, "do_pad", None):
        images.do_pad = False


def _side(vision: Any) -> int:
    return int(vision.image_size // vision.patch_size)


# ------------------------------------------------------------------------------------------------ preparing


@dataclass(eq=False)
class PreparedModel:
    """A model that is being adapted."""

    model: Any
    processor: Any
    parts: Parts
    base: Path
    dtype: torch.dtype  # of the weights, in which they are saved
    learned: dict[str, nn.Module | Mapping[str, Tensor]]  # mark → the remedy that is trained, or its tensors
    table: LearnedPositions | None = None
    groups: tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]] = ({}, {})  # trained at the first, the second rate
    lora: Any = None  # peft's adapters in the language model, until `finish`
    is_beside: bool = False

    def finish(self) -> None:
        """Merge LoRA into plain weights; a second call changes nothing."""
        if self.lora is not None:
            self.lora.merge_and_unload()
            self.parts.language.requires_grad_(False)
            self.lora = None

    def save(self, folder: Path) -> None:
        """Write model, processor and remedies; LoRA is merged first.

        What was trained by PIN is written beside a copy of the base; only the marks in config.json are added.
        """
        self.finish()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.is_beside:
                for file in self.base.iterdir():
                    if file.is_file() and file.name not in _LEFT:
                        shutil.copyfile(file, folder / file.name)
                config = read_json(self.base / "config.json", "pass the base's whole folder")
                config[FIELD] = dict(trained_with(self.model))
                write_json(folder / "config.json", config, force=True, indent=2)
            else:
                self.model.to(self.dtype).save_pretrained(folder)
            self.processor.save_pretrained(folder)
        except FileError:
            raise
        except (OSError, ValueError) as error:
            raise FileError(folder, str(error), "choose a writable place with enough space") from error
        tensors = {}
        for name, one in self.learned.items():
            state = one.state_dict() if isinstance(one, nn.Module) else one
            tensors[name] = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        if tensors:
            save_learned(folder, tensors)
        if self.table is not None:
            self.table.save(folder)


def prepare(
    model: Any, processor: Any, folder: Path, settings: AdaptSettings, encoder: tuple[Any, Any] | None = None
) -> PreparedModel:
    """Apply all settings, of any method but CLOC, and freeze the rest; a model that raises must not be used further."""
    torch.manual_seed(settings.seed)
    marks, dtype = trained_with(model), next(model.parameters()).dtype
    settings.check_fits(parts_of(model).kind)
    _refuse_marked(settings, model)
    learned = {name: load_learned(folder, name) for name in (norms.NAME, pin.NAME) if name in marks}
    if encoder is not None or settings.features:  # another encoder, or other layers, with a new projector
        config, like = model.config, model.model.multi_modal_projector.linear_1.weight
        if encoder is not None:
            if settings.features:
                config.vision_feature_layer = -1  # last layer of the new encoder; the layers asked for follow
            tower, processor.image_processor = encoder
            config = with_encoder(config, tower.config)
            model.model.vision_tower = tower.to(device=like.device, dtype=like.dtype).eval()
        if settings.features:
            config = features.multilayer_config(config, settings.features)
        model.config = model.model.config = config
        model.model.multi_modal_projector = LlavaMultiModalProjector(config).to(like.device)
    parts = parts_of(model)
    treat(model, RequestedRemedies(), folder, processor.tokenizer)
    made = PreparedModel(model, processor, parts, folder, dtype, {**learned}, is_beside=settings.method == "pin")
    if (folder / TABLE_FILE).is_file():
        made.table = LearnedPositions.load(folder)
    vision: Any = getattr(parts.vision, "config", None)
    if parts.kind == "llava":
        show_whole_images(processor.image_processor, vision)
        processor.patch_size = int(vision.patch_size)
        processor.vision_feature_select_strategy = select_strategy(vision)
        processor.num_additional_image_tokens = int(processor.vision_feature_select_strategy == "default")
    model.requires_grad_(False)
    if settings.checkpointing:
        # Its name from transformers 5.23 on, and before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        parts.language.train()
    fresh = _put_remedies(made, settings)
    named = {f"{name}.{key}": value for name, module in fresh.items() for key, value in module.named_parameters()}
    for value in named.values():
        value.requires_grad_(True)
    made.groups = (named, {})
    if settings.method == "lora":
        made.lora = _with_lora(parts, settings.rank)
        added = {f"lora.{n}": p for n, p in parts.language.named_parameters() if "lora_" in n}
        for value in added.values():  # created in the number format of the weights
            value.data = value.data.float()
        made.groups = (added, named)
    return made


def _refuse_marked(settings: AdaptSettings, model: Any) -> None:
    """Refuse options that would train a remedy again, or change the encoder that one was trained with."""
    marks = trained_with(model)
    remedies = {
        "--norm": (settings.norm == "published", norms.NAME),
        "--positions": (settings.positions is not None, POSITIONS),
        "--features": (bool(settings.features), features.NAME),
        "--method pin": (settings.method == "pin", pin.NAME),
    }
    twice = [option for option, (is_asked, remedy) in remedies.items() if is_asked and remedy in marks]
    if (settings.new_encoder or settings.features) and {features.NAME, pin.NAME} & marks.keys():
        twice.append("--encoder or --features")
    if twice:
        before, again = ", ".join(marks), ", ".join(twice)
        reason = f"was already trained with {before}, and keeps it; {again} cannot be applied to it"
        raise ModelError(type(model).__name__, reason, "leave it out, or start with a base that was not adapted")


def _put_remedies(made: PreparedModel, settings: AdaptSettings) -> dict[str, nn.Module]:
    """Apply PIN, or other remedies; returns the modules that are trained: PIN alone, or these and the projector."""
    model, parts = made.model, made.parts
    vision: Any = getattr(parts.vision, "config", None)
    if settings.method == "pin":
        patches = _side(vision) ** 2
        insert = pin.Pin(patches, int(vision.hidden_size))
        pin.put_pin(parts, insert, allow_untrained=True)
        mark(model, pin.NAME, {"patches": patches})
        made.learned[pin.NAME] = insert
        return {"pin": insert}
    fresh: dict[str, nn.Module] = {"projector": parts.projector.float()}
    if settings.features:
        with_norm = isinstance(getattr(parts.vision, "post_layernorm", None), nn.Module)
        features.put_layers(parts, settings.features, post_layernorm=with_norm, allow_untrained=True)
        layers = features.checked_layers(settings.features, int(vision.num_hidden_layers))
        mark(model, features.NAME, {"layers": layers, "post_layernorm": with_norm})
    if settings.norm == "published":  # with the norms of this model's own words
        words, table = made.processor.tokenizer, parts.embeddings.weight
        text = norms.text_norms(parts, rows=min(len(words), int(table.shape[0])), without=words.all_special_ids)
        norm = norms.PublishedNorm(int(table.shape[1]), text.mean, text.largest)
        norms.put_norm(parts, norm, allow_untrained=True)
        mark(model, norms.NAME, norms.PUBLISHED)
        made.learned[norms.NAME] = fresh["norm"] = norm
    if settings.positions is not None:
        scheme = Positions(settings.positions)
        if settings.positions == "learned-absolute":
            if parts.kind not in pin.WITH_PATCHES:
                got = f"learned-absolute of {parts.kind}, whose images have grids of any size"
                raise InputError("--positions", got, "a rotary scheme", "choose mrope-chunked or mrope-interleaved")
            side, like = _side(vision), parts.embeddings.weight
            made.table = fresh["positions"] = LearnedPositions(side, side, int(like.shape[1])).to(like.device)
        install(parts, scheme, table=made.table if "positions" in fresh else None, allow_untrained=True)
        mark_trained(parts, scheme)
    return fresh


def _with_lora(parts: Parts, rank: int) -> Any:
    """Put adapters on the four projections of every attention layer: W + (2 r / r) B A, B zero at first; no dropout."""
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise DependencyError("peft", install_command("adapt")) from error
    targets = list(LORA_TARGETS)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, lora_dropout=0.0, bias="none")
    try:
        return LoraModel(parts.language, {_LORA: config}, _LORA)
    except ValueError as error:
        reason = f"LoRA does not fit its language model: {error}"
        raise ModelError(type(parts.model).__name__, reason, "use --method projector") from error
