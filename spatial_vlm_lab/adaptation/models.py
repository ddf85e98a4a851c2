# SPDX-License-Identifier: Apache-2.0
"""Models that are adapted: loaded, given another encoder, remedies and LoRA, frozen but for these, and saved.

Another vision encoder in a LLaVA model shows the effect of the encoder's training data in spatial tests ("Spatial
Blindspot", arXiv 2601.09954: CLIP, SigLIP, SigLIP 2, AIMv2). Three details differ between the classes of transformers:

- Only CLIP has a class token; the strategy "default" drops the first token and "full" keeps all. With the right
  strategy the number of image tokens is the same for all encoders.
- SigLIP and AIMv2 have a pooling head that LLaVA never uses; here they are created without it.
- SigLIP 2 has two forms. Checkpoints of a fixed size use the class of SigLIP (`siglip_vision_model`) with other
  weights. Those of a variable size ("NaFlex", `Siglip2VisionModel`) need images cut into patches with a mask and the
  shape of each grid, which `LlavaForConditionalGeneration` does not pass on; they cannot be used in it.

Each checkpoint needs images with the mean and deviation of its own image processor.

LoRA (Hu et al. 2021, arXiv 2106.09685) on the attention of the language model is that of the package peft, merged at
the end: merged weights are plain weights that do not need peft. An adapted model is saved as a plain transformers
checkpoint with the marks and trained tensors of its remedies.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import LlavaConfig
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from spatial_vlm_lab.adaptation.settings import AdaptSettings, check_fits
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
from spatial_vlm_ros.vlm.remedies.positions import NAME as POSITIONS
from spatial_vlm_ros.vlm.remedies.positions import Positions, install, mark_trained
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

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
_PLACE_REPAIR = "choose a writable place with enough space"
_LORA = "adapted"
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
_OF_ENCODER = (features.NAME, pin.NAME)
_LEFT = ("README.md", "adaptation.json", "calibration.json", "config.json")
"""Files of a base that are not its weights, tokenizer or processor, or that are written again."""


class NewEncoder(NamedTuple):
    """A vision encoder with its own image processor."""

    vision: Any
    images: Any


# ------------------------------------------------------------------------------------------------ loading


def base_kind(folder: Path) -> str:
    """Return the `model_type` of a model folder, a key of `parts.ARCHITECTURES`."""
    if not folder.is_dir():
        raise FileError(folder, "no such folder", "pass the folder of a model: config.json, safetensors and processor")
    kind = str(loading.read_json(folder / "config.json", str(folder)).get("model_type"))
    if kind not in ARCHITECTURES:
        raise UnknownNameError("model_type of BASE", kind, ARCHITECTURES)
    return kind


def training_dtype(device: torch.device) -> torch.dtype:
    """Choose the number format of frozen weights: bfloat16 on a GPU that has it, else float32.

    Gradients overflow in float16.
    """
    found = onboard.best_dtype(device, "auto", language=True)
    return torch.float32 if found is torch.float16 else found


def load_base(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load the model and the processor of a folder."""
    kind, name = base_kind(folder), str(folder)
    model = loading.pretrained("AutoModelForImageTextToText", name, model=name, device=device, dtype=dtype)
    return model, loading.processor(name, model=name, cls=processor_class(kind, name))


def load_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> NewEncoder:
    """Load a vision encoder, without its text half and pooling head, and its image processor.

    Args:
        folder: folder of an encoder, or of a whole CLIP, SigLIP or AIMv2 model.
    """
    if not folder.is_dir():
        raise FileError(folder, "no such folder", _ENCODER_REPAIR)
    name = str(folder)
    kind = str(loading.read_json(folder / "config.json", name).get("model_type"))
    if kind.startswith("siglip2"):
        reason = "takes patches of images of any size (NaFlex), which LLaVA does not pass on"
        raise ModelError(kind, reason, _ENCODER_REPAIR)
    if kind.removesuffix(_VISION) not in _ENCODERS:
        raise ModelError(kind, f"{folder} is not a vision encoder that LLaVA supports", _ENCODER_REPAIR)
    cls, without, _ = _ENCODERS[kind.removesuffix(_VISION)]
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
    return NewEncoder(vision, images)


def load_encoder_of(base: Path, encoder: Path | None, device: torch.device, dtype: torch.dtype) -> NewEncoder:
    """Load the encoder for training it alone: from its own folder, else from a LLaVA model.

    Args:
        encoder: folder of an encoder, in place of the base's; None = the base's.
    """
    config = base / "config.json"
    if encoder is None and config.is_file() and loading.read_json(config, str(base)).get("model_type") == "llava":
        model, processor = load_base(base, device, dtype)
        return NewEncoder(model.model.vision_tower, processor.image_processor)
    return load_encoder(encoder or base, device, dtype)


def fingerprint(folder: Path) -> str:
    """Identify a checkpoint without reading its weights: a hash of config.json and of the file sizes."""
    files = sorted((file.name, file.stat().st_size) for file in loading.weight_files(folder) if file.is_file())
    told = json.dumps([loading.read_json(folder / "config.json", str(folder)), files], sort_keys=True)
    return f"{folder.name} {hashlib.sha256(told.encode()).hexdigest()[:16]}"


# ------------------------------------------------------------------------------------------------ encoders


def select_strategy(config: Any) -> str:
    """Return the `vision_feature_select_strategy` that keeps exactly the patches."""
    kind = str(config.model_type)
    if kind == "siglip2_vision_model":
        reason = "takes patches, a mask and grid shapes (NaFlex), which LLaVA does not pass on"
        raise ModelError(kind, reason, "use a SigLIP 2 of a fixed size, kind 'siglip2'")
    strategies = {f"{name}{_VISION}": strategy for name, (_, _, strategy) in _ENCODERS.items()}
    if kind not in strategies:
        raise ModelError(kind, f"is not one of {', '.join(strategies)}", "add whether it has a class token here")
    return strategies[kind]


def with_encoder(config: Any, vision: Any) -> Any:
    """Copy a LLaVA configuration with another vision encoder.

    Returns:
        A copy with the encoder, its strategy and its number of image tokens: patches across times patches down. Its
        `vision_feature_layer` stays.
    """
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
    changed.image_seq_length = _patches(vision)
    return changed


def show_whole_images(images: Any, vision: Any) -> None:
    """Make an image processor squash the whole image into the encoder's square instead of cropping its sides."""
    side = int(vision.image_size)
    images.do_resize, images.size, images.do_center_crop = True, {"height": side, "width": side}, False
    if getattr(images, "do_pad", None):
        images.do_pad = False


def _patches(vision: Any) -> int:
    return int(vision.image_size // vision.patch_size) ** 2


# ------------------------------------------------------------------------------------------------ preparing


@dataclass(eq=False)
class PreparedModel:
    """A model that is being adapted.

    Args:
        first: parameters trained at the method's first rate, by name.
        second: parameters trained at its second rate, by name.
        learned: mark → the remedy that is trained, or its tensors.
        table: table of learned-absolute positions.
        lora: peft's adapters in the language model, until `finish`.
    """

    model: Any
    processor: Any
    parts: Parts
    first: dict[str, nn.Parameter] = field(default_factory=dict)
    second: dict[str, nn.Parameter] = field(default_factory=dict)
    learned: dict[str, nn.Module | Mapping[str, Tensor]] = field(default_factory=dict)
    table: LearnedPositions | None = None
    lora: Any = None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """All trained parameters, by name."""
        return {**self.first, **self.second}

    def finish(self) -> None:
        """Merge LoRA into plain weights; a second call changes nothing."""
        if self.lora is not None:
            self.lora.merge_and_unload()
            self.parts.language.requires_grad_(False)
            self.lora = None


def prepare(
    model: Any, processor: Any, folder: Path, settings: AdaptSettings, encoder: NewEncoder | None = None
) -> PreparedModel:
    """Apply all settings and freeze the rest. A model for which this fails must not be used further.

    Args:
        settings: what is trained; any method but CLOC.
        encoder: encoder to use instead of the base's.
    """
    torch.manual_seed(settings.seed)
    parts, marks = parts_of(model), trained_with(model)
    check_fits(settings, parts.kind)
    _refuse_marked(settings, type(model).__name__, marks)
    carried = {name: load_learned(folder, name) for name in (norms.NAME, pin.NAME) if name in marks}
    if encoder is not None or settings.features:
        _reshape(model, processor, settings, encoder)
        parts = parts_of(model)
    treat(model, RequestedRemedies(), folder, processor.tokenizer)
    made = PreparedModel(model, processor, parts, learned=dict(carried))
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
    if settings.method == "pin":
        patches = _patches(vision)
        insert = pin.Pin(patches, int(vision.hidden_size))
        pin.put_pin(parts, insert, allow_untrained=True)
        mark(model, pin.NAME, {"patches": patches})
        made.learned[pin.NAME] = insert
        made.first = {f"pin.{name}": value for name, value in insert.named_parameters()}
    else:
        _with_remedies(made, settings)
    return made


def _refuse_marked(settings: AdaptSettings, name: str, marks: Mapping[str, object]) -> None:
    twice = [
        option
        for option, remedy, is_asked in (
            ("--norm", norms.NAME, settings.norm == "published"),
            ("--positions", POSITIONS, settings.positions is not None),
            ("--features", features.NAME, bool(settings.features)),
            ("--method pin", pin.NAME, settings.method == "pin"),
        )
        if is_asked and remedy in marks
    ]
    if (settings.new_encoder or settings.features) and any(remedy in marks for remedy in _OF_ENCODER):
        twice.append("--encoder or --features")
    if twice:
        before, again = ", ".join(marks), ", ".join(twice)
        reason = f"was already trained with {before}, and keeps it; {again} cannot be applied to it"
        raise ModelError(name, reason, "leave the option out, or start with a base that was not adapted")


def _reshape(model: Any, processor: Any, settings: AdaptSettings, encoder: NewEncoder | None) -> None:
    """Replace the encoder, or the layers that are read, and start with a new projector."""
    config = model.config
    if encoder is not None:
        if settings.features:
            config.vision_feature_layer = -1  # last layer of the new encoder; the layers asked for follow
        config = with_encoder(config, encoder.vision.config)
    if settings.features:
        config = features.multilayer_config(config, settings.features)
    like = model.model.multi_modal_projector.linear_1.weight
    model.config = model.model.config = config
    if encoder is not None:
        model.model.vision_tower = encoder.vision.to(device=like.device, dtype=like.dtype).eval()
        processor.image_processor = encoder.images
    model.model.multi_modal_projector = LlavaMultiModalProjector(config).to(like.device)


def _with_remedies(made: PreparedModel, settings: AdaptSettings) -> None:
    """Apply the requested remedies; they, the projector and LoRA are trained."""
    model, parts = made.model, made.parts
    fresh: dict[str, nn.Module] = {"projector": parts.projector.float()}
    if settings.features:
        with_norm = isinstance(getattr(parts.vision, "post_layernorm", None), nn.Module)
        features.put_layers(parts, settings.features, post_layernorm=with_norm, allow_untrained=True)
        layers = features.checked_layers(settings.features, int(parts.vision.config.num_hidden_layers))
        mark(model, features.NAME, {"layers": layers, "post_layernorm": with_norm})
    if settings.norm == "published":
        fresh["norm"] = _with_norm(made)
    if settings.positions is not None:
        table = _with_positions(made, settings.positions)
        fresh.update({"positions": table} if table is not None else {})
    named = {f"{name}.{key}": value for name, module in fresh.items() for key, value in module.named_parameters()}
    for value in named.values():
        value.requires_grad_(True)
    made.first = named
    if settings.method == "lora":
        made.lora = _with_lora(parts, settings.rank)
        added = {f"lora.{n}": p for n, p in parts.language.named_parameters() if "lora_" in n}
        for value in added.values():  # created in the number format of the weights
            value.data = value.data.float()
        made.first, made.second = added, named


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


def _with_norm(made: PreparedModel) -> nn.Module:
    """Apply the published normaliser with the norms of this model's own words."""
    words, table = made.processor.tokenizer, made.parts.embeddings.weight
    text = norms.text_norms(made.parts, rows=min(len(words), int(table.shape[0])), without=words.all_special_ids)
    norm = norms.PublishedNorm(int(table.shape[1]), text.mean, text.largest)
    norms.put_norm(made.parts, norm, allow_untrained=True)
    mark(made.model, norms.NAME, norms.PUBLISHED)
    made.learned[norms.NAME] = norm
    return norm


def _with_positions(made: PreparedModel, scheme: str) -> LearnedPositions | None:
    parts, table = made.parts, None
    if scheme == "learned-absolute":
        vision: Any = parts.vision.config
        if parts.kind not in pin.WITH_PATCHES:
            got = f"learned-absolute of {parts.kind}, whose images have grids of any size"
            raise InputError("--positions", got, "a rotary scheme", "choose mrope-chunked or mrope-interleaved")
        side = int(vision.image_size // vision.patch_size)
        table = LearnedPositions(side, side, int(parts.embeddings.weight.shape[1]))
        table.to(parts.embeddings.weight.device)
        made.table = table
    install(parts, Positions(scheme), table=table, allow_untrained=True)
    mark_trained(parts, Positions(scheme))
    return table


# ------------------------------------------------------------------------------------------------ saving


def save_adapted(made: PreparedModel, folder: Path, dtype: torch.dtype) -> None:
    """Write model, processor and remedies; LoRA is merged first.

    Args:
        folder: new, or empty.
        dtype: number format of the weights, the same as the base's.
    """
    made.finish()
    made.model.to(dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made.model.save_pretrained(folder)
        made.processor.save_pretrained(folder)
    except OSError as error:
        raise FileError(folder, str(error), _PLACE_REPAIR) from error
    _save_remedies(made, folder)


def save_beside(made: PreparedModel, base: Path, folder: Path) -> None:
    """Copy the base byte for byte and write the remedies beside it: only the marks in config.json are added.

    Args:
        made: the trained model; its base must be unchanged.
        folder: new, or empty.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in base.iterdir():
            if file.is_file() and file.name not in _LEFT:
                shutil.copyfile(file, folder / file.name)
        config = read_json(base / "config.json", "pass the base's whole folder")
        config[FIELD] = dict(trained_with(made.model))
        write_json(folder / "config.json", config, force=True, indent=2)
        made.processor.save_pretrained(folder)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(folder, str(error), _PLACE_REPAIR) from error
    _save_remedies(made, folder)


def _save_remedies(made: PreparedModel, folder: Path) -> None:
    tensors = {}
    for name, one in made.learned.items():
        state = one.state_dict() if isinstance(one, nn.Module) else one
        tensors[name] = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if tensors:
        save_learned(folder, tensors)
    if made.table is not None:
        made.table.save(folder)
