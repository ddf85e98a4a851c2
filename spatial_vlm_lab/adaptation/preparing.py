# SPDX-License-Identifier: Apache-2.0
"""Prepare a loaded model for training: apply encoder, layers, norm, positions, PIN and LoRA; freeze the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from spatial_vlm_lab.adaptation.encoders import select_strategy, with_encoder
from spatial_vlm_lab.adaptation.lora import LoraAdapter
from spatial_vlm_lab.adaptation.settings import AdaptSettings, check_fits
from spatial_vlm_lab.adaptation.whole_images import show_whole_images
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import features, norms, pin, position_schemes
from spatial_vlm_ros.vlm.remedies.absolute import FILE as TABLE_FILE
from spatial_vlm_ros.vlm.remedies.absolute import LearnedPositions
from spatial_vlm_ros.vlm.remedies.learned import load_learned
from spatial_vlm_ros.vlm.remedies.marking import mark, trained_with
from spatial_vlm_ros.vlm.remedies.position_schemes import Positions, mark_trained
from spatial_vlm_ros.vlm.remedies.positions import install
from spatial_vlm_ros.vlm.remedies.requested import RequestedRemedies, treat

_BY_OPTION = {"--norm": norms.NAME, "--positions": position_schemes.NAME, "--features": features.NAME}
_OF_ENCODER = (features.NAME, pin.NAME)


@dataclass(eq=False)
class PreparedModel:
    """A model that is being adapted.

    Args:
        first: parameters trained at the method's first rate, by name.
        second: parameters trained at its second rate, by name.
        table: table of learned-absolute positions.
        lora: adapters in the language model, until `finish`.
    """

    model: Any
    processor: Any
    parts: Parts
    first: dict[str, nn.Parameter] = field(default_factory=dict)
    second: dict[str, nn.Parameter] = field(default_factory=dict)
    learned: dict[str, nn.Module | Mapping[str, Tensor]] = field(default_factory=dict)
    table: LearnedPositions | None = None
    lora: LoraAdapter | None = None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """All trained parameters, by name."""
        return {**self.first, **self.second}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Mark → tensors of the remedy, for `save_learned`."""
        return {
            name: {key: value.detach().cpu().contiguous() for key, value in _state(one).items()}
            for name, one in self.learned.items()
        }

    def finish(self) -> None:
        """Merge LoRA into plain weights; a second call changes nothing."""
        if self.lora is not None:
            self.lora.merge()
            self.lora = None


@dataclass(frozen=True, eq=False)
class NewEncoder:
    """A vision encoder with its own image processor."""

    vision: Any
    images: Any


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
    if parts.kind == "llava":
        show_whole_images(processor.image_processor, parts.vision.config)
        vision = parts.vision.config
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
        _with_pin(made)
    else:
        _with_remedies(made, settings)
    return made


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
        made.lora = LoraAdapter(parts, settings.rank)
        made.first, made.second = made.lora.parameters(), named


def _refuse_marked(settings: AdaptSettings, name: str, marks: Mapping[str, object]) -> None:
    asked = {
        "--norm": settings.norm == "published",
        "--positions": settings.positions is not None,
        "--features": bool(settings.features),
    }
    twice = [option for option, is_asked in asked.items() if is_asked and _BY_OPTION[option] in marks]
    if settings.method == "pin" and pin.NAME in marks:
        twice.append("--method pin")
    if (settings.new_encoder or settings.features) and any(mark_ in marks for mark_ in _OF_ENCODER):
        twice.append("--encoder or --features")
    if twice:
        reason = (
            f"was already trained with {', '.join(marks)}, and keeps it; {', '.join(twice)} cannot be applied to it"
        )
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


def _with_pin(made: PreparedModel) -> None:
    vision: Any = made.parts.vision.config
    patches = int(vision.image_size // vision.patch_size) ** 2
    insert = pin.Pin(patches, int(vision.hidden_size))
    pin.put_pin(made.parts, insert, allow_untrained=True)
    mark(made.model, pin.NAME, {"patches": patches})
    made.learned[pin.NAME] = insert
    made.first = {f"pin.{name}": value for name, value in insert.named_parameters()}


def _with_norm(made: PreparedModel) -> nn.Module:
    """Apply the published normaliser with the norms of this model's own words."""
    words = made.processor.tokenizer
    rows = min(len(words), int(made.parts.embeddings.weight.shape[0]))
    text = norms.text_norms(made.parts, rows=rows, without=words.all_special_ids)
    norm = norms.PublishedNorm(int(made.parts.embeddings.weight.shape[1]), text.mean, text.largest)
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


def _state(one: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return one.state_dict() if isinstance(one, nn.Module) else one
