# SPDX-License-Identifier: Apache-2.0
"""Concatenate visual features of several encoder layers along channels, for models of the LLaVA class.

The last layers of an encoder trained on captions keep little location information. "Beyond Semantics" (arXiv
2503.17349) uses layers 12, 16, 20 and 24 of CLIP ViT-L/14-336, CLIP's `post_layernorm` on each, without the class
token. The input of its projector is four times as wide, and the projector is *trained* for it.

Layers are numbered like hidden states: 0 = the embeddings, 1 = the output of the first layer, -1 = the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import nn

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, Removable
from spatial_vlm_ros.vlm.remedies.learned import check_trained

PUBLISHED_LAYERS = (12, 16, 20, 24)
"""Published layers, of the 24 layers of CLIP ViT-L/14-336."""
NAME = "vision_feature_layers"
"""Mark of a checkpoint: {"layers": result of `checked_layers`, "post_layernorm": bool}."""
_FIELD = "vision_feature_layer"


def checked_layers(layers: Sequence[int], depth: int) -> list[int]:
    """Check layers, from -(depth + 1) to depth, and count them from the embeddings: -1 becomes the depth."""
    within = [layer % (depth + 1) for layer in layers if -(depth + 1) <= layer <= depth]
    if not within or len(within) < len(layers) or len(set(within)) < len(within):
        expected = f"different numbers from {-depth - 1} to {depth}"
        raise InputError(_FIELD, str(list(layers)), expected, "count the layers of this encoder")
    return within


def multilayer_config(config: Any, layers: Sequence[int] = PUBLISHED_LAYERS) -> Any:
    """Copy the configuration of a LLaVA model for training, with a projector that takes features of several layers."""
    _check_kind(str(config.model_type))
    chosen, changed = checked_layers(layers, int(config.vision_config.num_hidden_layers)), deepcopy(config)
    setattr(changed, _FIELD, chosen)
    return changed


def put_layers(
    parts: Parts,
    layers: Sequence[int] = PUBLISHED_LAYERS,
    *,
    post_layernorm: bool = True,
    allow_untrained: bool = False,
) -> Removable:
    """Feed several layers to the projector of a LLaVA model; everything is checked before anything is changed.

    `post_layernorm`: whether to apply the encoder's to each, as published.
    """
    _check_kind(parts.kind)
    name, vision = type(parts.model).__name__, parts.vision.config
    chosen = checked_layers(layers, int(vision.num_hidden_layers))
    width, expected = int(parts.projector.linear_1.in_features), int(vision.hidden_size) * len(chosen)
    if width != expected:
        reason = f"its projector takes {width} numbers, but {len(chosen)} layers of {vision.hidden_size} are {expected}"
        raise ModelError(name, reason, "make the model from multilayer_config and train its projector")
    if post_layernorm and not isinstance(getattr(parts.vision, "post_layernorm", None), nn.Module):
        reason = f"its encoder {type(parts.vision).__name__} has no post_layernorm"
        raise ModelError(name, reason, "pass post_layernorm=False")
    own = parts.model.config.vision_feature_layer
    own = checked_layers([own] if isinstance(own, int) else own, int(vision.num_hidden_layers))
    unmarked = {"layers": own, "post_layernorm": False}
    value = {"layers": chosen, "post_layernorm": post_layernorm}
    check_trained(parts.model, NAME, value, allow_untrained, unmarked=unmarked)
    configs = list({id(m.config): m.config for m in (parts.model, parts.model.model)}.values())
    handle = Removable()
    for config in configs:
        handle.callback(setattr, config, _FIELD, getattr(config, _FIELD))
        setattr(config, _FIELD, chosen)

    def normalise(vision: Any, _given: tuple[Any, ...], output: Any) -> Any:
        """Apply its `post_layernorm` to the chosen hidden states only."""
        if output.hidden_states is None:
            return output
        states = list(output.hidden_states)
        for layer in chosen:
            states[layer] = vision.post_layernorm(states[layer])
        output["hidden_states"] = tuple(states)
        return output

    if post_layernorm:
        handle.callback(parts.vision.register_forward_hook(normalise).remove)
    return handle


def _check_kind(kind: str) -> None:
    if kind == "qwen3_vl":
        reason = "has features of several layers built in: DeepStack adds them to its first decoder layers"
        raise ModelError(kind, reason, "leave it unchanged")
    if kind != "llava":
        reason = f"has no {_FIELD}: its projector takes the encoder's last output"
        raise ModelError(kind, reason, "use a model of the class llava")
