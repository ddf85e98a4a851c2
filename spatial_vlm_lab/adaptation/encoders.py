# SPDX-License-Identifier: Apache-2.0
"""Replace the vision encoder of a LLaVA model and keep everything else.

This comparison shows the effect of the encoder's training data in spatial tests ("Spatial Blindspot", arXiv 2601.09954:
CLIP, SigLIP, SigLIP 2, AIMv2). Three details differ between the classes of transformers and are handled here:

- Only CLIP has a class token; the strategy "default" drops the first token and "full" keeps all. With the right
  strategy the number of image tokens is the same for all encoders.
- SigLIP and AIMv2 have a pooling head that LLaVA never uses; here they are created without it.
- SigLIP 2 has two forms. Checkpoints of a fixed size use the class of SigLIP (`siglip_vision_model`) with other
  weights. Those of a variable size ("NaFlex", `Siglip2VisionModel`) need images cut into patches with a mask and the
  shape of each grid, which `LlavaForConditionalGeneration` does not pass on; they cannot be used in it.

Each checkpoint needs images with the mean and deviation of its own image processor.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import Aimv2VisionConfig, CLIPVisionConfig, LlavaConfig, SiglipVisionConfig

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError

KINDS = ("clip", "siglip", "siglip2", "aimv2")
_CLASSES = {
    "clip": (CLIPVisionConfig, {}),
    "siglip": (SiglipVisionConfig, {"vision_use_head": False}),
    "siglip2": (SiglipVisionConfig, {"vision_use_head": False}),
    "aimv2": (Aimv2VisionConfig, {"use_head": False}),
}
_GATED_MULTIPLE = 256


def vision_config(
    kind: str,
    hidden_size: int,
    layers: int,
    heads: int,
    image_size: int,
    patch_size: int,
    intermediate_size: int | None = None,
) -> Any:
    """Make the configuration of a vision encoder.

    Args:
        kind: one of KINDS.
        image_size: side of the square images, pixels.
        patch_size: side of a patch, pixels; the remainder at the right and bottom is not seen.
        intermediate_size: width of the feed-forward part. None: four times the width; for AIMv2, whose part is gated
            and has three matrices, two thirds of that, up to a multiple of 256, as in its checkpoints.

    Returns:
        CLIPVisionConfig, SiglipVisionConfig or Aimv2VisionConfig.
    """
    if kind not in _CLASSES:
        raise UnknownNameError("vision encoder", kind, KINDS)
    sizes = (hidden_size, layers, heads, image_size, patch_size)
    if min(sizes) < 1 or hidden_size % heads or patch_size > image_size:
        got = f"width {hidden_size}, {layers} layers, {heads} heads, image {image_size}, patch {patch_size}"
        expected = "numbers above zero, a width that the heads divide, a patch within the image"
        raise InputError("vision encoder", got, expected)
    wide = 4 * hidden_size
    if kind == "aimv2":
        wide = -(-8 * hidden_size // (3 * _GATED_MULTIPLE)) * _GATED_MULTIPLE
    made, further = _CLASSES[kind]
    return made(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=image_size,
        patch_size=patch_size,
        intermediate_size=wide if intermediate_size is None else intermediate_size,
        **further,
    )


def select_strategy(config: Any) -> str:
    """Return the `vision_feature_select_strategy` that keeps exactly the patches."""
    kind = str(config.model_type)
    if kind == "siglip2_vision_model":
        reason = "takes patches, a mask and grid shapes (NaFlex), which LLaVA does not pass on"
        raise ModelError(kind, reason, "use a SigLIP 2 of a fixed size, kind 'siglip2'")
    strategies = {"clip_vision_model": "default", "siglip_vision_model": "full", "aimv2_vision_model": "full"}
    if kind not in strategies:
        raise ModelError(kind, f"is not one of {', '.join(strategies)}", "add whether it has a class token here")
    return strategies[kind]


def image_tokens(config: Any) -> int:
    """Image tokens per image: patches across times patches down."""
    return int(config.image_size // config.patch_size) ** 2


def with_encoder(config: Any, vision: Any) -> Any:
    """Copy a LLaVA configuration with another vision encoder.

    Returns:
        A copy with the encoder, its strategy and its number of image tokens. Its `vision_feature_layer` stays.
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
    changed.image_seq_length = image_tokens(vision)
    return changed
