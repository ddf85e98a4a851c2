# SPDX-License-Identifier: Apache-2.0
"""Configuration of the compact model, in the format that transformers saves and loads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from transformers import PreTrainedConfig

from spatial_vlm_ros.vlm.compact.spec import CompactSpec, spec_from


class CompactConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of the network and all fields of its CompactSpec.

    Args:
        channels: channels of the features at strides 4, 8 and 16.
        attention_layers: transformer blocks at stride 16.
        phrase_size: size of a phrase's embedding.
    """

    model_type = "spatial_vlm_compact"

    words: list[str] | tuple[str, ...] = ()
    width: int = CompactSpec.width
    height: int = CompactSpec.height
    buckets: int = CompactSpec.buckets
    length: int = CompactSpec.length
    prototypes: int = CompactSpec.prototypes
    names: dict[str, list[str]] | None = None
    score_scale: float = CompactSpec.score_scale
    score_rival: float = CompactSpec.score_rival
    score_shift: float = CompactSpec.score_shift
    domain: str = CompactSpec.domain
    channels: list[int] | tuple[int, ...] = (48, 96, 160)
    attention_layers: int = 2
    attention_heads: int = 4
    phrase_size: int = 128
    head_size: int = 64

    @property
    def spec(self) -> CompactSpec:
        """The numbers needed to feed the model and read its output."""
        values = {name: getattr(self, name) for name in asdict(CompactSpec(("x",)))}
        return spec_from({**values, "names": self.names or {}})


def config_of(spec: CompactSpec, **sizes: Any) -> CompactConfig:
    """Make a configuration with this spec; `sizes` are other fields of CompactConfig."""
    names = {name: list(labels) for name, labels in spec.names.items()}
    return CompactConfig(**{**asdict(spec), "words": list(spec.words), "names": names, **sizes})
