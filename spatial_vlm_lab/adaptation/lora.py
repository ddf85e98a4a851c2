# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) on the attention of a language model, merged at the end.

The adapters are those of the package peft. Merged weights are plain weights that do not need peft.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spatial_vlm_ros.errors import DependencyError, ModelError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.vlm.parts import Parts

_NAME = "adapted"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class LoraAdapter:
    """Adapters on the four projections of every attention layer: W + (2 r / r) B A, B zero at first; no dropout.

    Args:
        parts: parts of a model; its language model is changed in place.
    """

    def __init__(self, parts: Parts, rank: int) -> None:
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise DependencyError("peft", install("adapt")) from error
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), lora_dropout=0.0, bias="none")
        try:
            self._adapted: Any = LoraModel(parts.language, {_NAME: config}, _NAME)
        except ValueError as error:
            reason = f"LoRA does not fit its language model: {error}"
            raise ModelError(type(parts.model).__name__, reason, "use --method projector") from error
        self._language = parts.language
        for value in self.parameters().values():  # created in the number format of the weights
            value.data = value.data.float()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trained parameters, by name."""
        return {f"lora.{n}": p for n, p in self._language.named_parameters() if "lora_" in n}

    def merge(self) -> None:
        """Add the adapters to the weights and remove them."""
        self._adapted.merge_and_unload()
        for value in self._language.parameters():
            value.requires_grad_(False)
