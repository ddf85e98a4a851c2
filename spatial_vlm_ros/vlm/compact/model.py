# SPDX-License-Identifier: Apache-2.0
"""The compact grounding model: it encodes the image once, then searches it for each phrase. Its export to ONNX.

Heat-maps of centres with offsets and sizes follow CenterNet (Zhou, Wang & Krähenbühl 2019); masks are linear in
prototypes and position (prototypes: YOLACT, Bolya et al. 2019; relative position: CondInst, Tian et al. 2020). Image
size is fixed in the export, the number of phrases is not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_bytes, written_by_name
from spatial_vlm_ros.vlm.compact.spec import ONNX_FILE, PADDING, CompactSpec, spec_from
from spatial_vlm_ros.vlm.rotary import grid_angles, rotate


class CompactConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of the network, in the format of transformers. All fields of its CompactSpec are attributes, too."""

    model_type = "spatial_vlm_compact"

    channels: list[int] | tuple[int, ...] = (48, 96, 160)  # of the features at strides 4, 8, 16
    attention_layers: int = 2  # transformer blocks at stride 16
    attention_heads: int = 4
    phrase_size: int = 128  # of a phrase's embedding
    head_size: int = 64

    @property
    def spec(self) -> CompactSpec:
        """The numbers needed to feed the model and read its output."""
        return spec_from(vars(self))


def config_of(spec: CompactSpec, **sizes: Any) -> CompactConfig:
    """Make a configuration with this spec; `sizes` are fields of CompactConfig."""
    return CompactConfig(**_as_json(spec), **sizes)


def _as_json(spec: CompactSpec) -> dict[str, Any]:
    names = {name: list(labels) for name, labels in spec.names.items()}
    return {**asdict(spec), "words": list(spec.words), "names": names}


def convolution(given: int, wanted: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Make convolution, batch norm and SiLU; height and width change only by the stride."""
    return nn.Sequential(
        nn.Conv2d(given, wanted, size, stride, size // 2, bias=False), nn.BatchNorm2d(wanted), nn.SiLU()
    )


class Residual(nn.Module):
    """A 3×3 and a 1×1 convolution with a skip connection: (B, C, H, W) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = convolution(channels, channels)
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.silu(x + self.mix(self.wide(x)))


class RotaryBlock(nn.Module):
    """A transformer block over a grid, pre-norm, with 2-D rotary position: (B, N, D) → (B, N, D)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm_out = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Process tokens with their angles (N, D / heads)."""
        batch, tokens, size = x.shape
        split = self.query_key_value(self.norm_in(x)).view(batch, tokens, 3, self.heads, size // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(rotate(query, angles), rotate(key, angles), value)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, size))
        return x + self.feed(self.norm_out(x))


class Backbone(nn.Module):
    """Images (B, 3, H, W) in -1..1 → features (B, C, …) at strides 8, 4 and (before the transformer blocks) 16."""

    def __init__(self, channels: tuple[int, int, int], layers: int, heads: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.heads = heads
        self.stem = nn.Sequential(
            convolution(3, fine // 2, stride=2), convolution(fine // 2, fine, stride=2), Residual(fine)
        )
        self.down = nn.Sequential(convolution(fine, middle, stride=2), Residual(middle), Residual(middle))
        self.further = nn.Sequential(convolution(middle, coarse, stride=2), Residual(coarse))
        self.blocks = nn.ModuleList(RotaryBlock(coarse, heads) for _ in range(layers))
        self.up = nn.Conv2d(coarse, middle, 1)
        self.joined = Residual(middle)
        self.up_again = nn.Conv2d(middle, fine, 1)
        self.joined_again = Residual(fine)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        fine = self.stem(images)
        middle = self.down(fine)
        coarse = convolved = self.further(middle)
        batch, size, height, width = coarse.shape
        angles = grid_angles(height, width, size // self.heads, coarse.device)
        tokens = coarse.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, angles)
        coarse = tokens.transpose(1, 2).reshape(batch, size, height, width)
        middle = self.joined(middle + F.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest"))
        fine = self.joined_again(fine + F.interpolate(self.up_again(middle), scale_factor=2.0, mode="nearest"))
        return middle, fine, convolved


class PhraseEncoder(nn.Module):
    """Word numbers (P, L), head noun first → embeddings (P, D). Heads and modifiers have separate tables."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__()
        self.nouns = nn.Embedding(entries, size, padding_idx=PADDING)
        self.modifiers = nn.Embedding(entries, size, padding_idx=PADDING)
        self.mix = nn.Sequential(nn.Linear(2 * size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))

    def forward(self, numbers: Tensor) -> Tensor:
        """See the class."""
        given = (numbers[:, 1:] != PADDING).to(self.modifiers.weight.dtype)[..., None]
        bag = (self.modifiers(numbers[:, 1:]) * given).sum(1)
        return self.mix(torch.cat([self.nouns(numbers[:, 0]), bag], dim=1))


class ConditionedHead(nn.Module):
    """Image features and phrases, by FiLM (Perez et al. 2018) → heat-map, box and mask kernel of each cell."""

    def __init__(self, given: int, size: int, phrase_size: int, kernel: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(given, size, 1)
        self.film = nn.Linear(phrase_size, 4 * size)
        self.mix, self.mix_again = nn.Conv2d(size, size, 1), nn.Conv2d(size, size, 3, padding=1)
        self.heat, self.box = nn.Conv2d(size, 1, 1), nn.Conv2d(size, 4, 1)
        self.kernel = nn.Conv2d(size, kernel, 1)

    def forward(self, projected: Tensor, phrases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projected features (P, size, h, w) and phrases (P, D), pair by pair → (P, 1 | 4 | kernel, h, w)."""
        scale, shift, scale_again, shift_again = self.film(phrases)[:, :, None, None].chunk(4, dim=1)
        x = F.silu(self.mix(F.silu(projected * (1 + scale) + shift)))
        x = F.silu(self.mix_again(x * (1 + scale_again) + shift_again))
        return self.heat(x), self.box(x), self.kernel(x)


_PRIOR = 0.01  # initial share of cells that are a centre (Lin et al. 2017, focal loss, section 4.1)


class CompactOutput(NamedTuple):
    """Model output for Q pairs of image and phrase, in cells of h × w = (H/8) × (W/8)."""

    heat: Tensor  # (Q, h, w) logits that an object of the phrase has its centre in the cell
    box: Tensor  # (Q, 4, h, w) centre minus cell centre (x, y; cells), logarithm of width and height (cells)
    kernel: Tensor  # (Q, K, h, w) weights that combine the prototypes into a mask
    prototypes: Tensor  # (B, K - 3, H/4, W/4)
    features: Tensor  # (B, D, H/16, W/16) of the backbone, for `familiarity`


class CompactModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Images and phrases → CompactOutput; see docs/models.md."""

    config_class = CompactConfig
    base_model_prefix = "compact"
    main_input_name = "pixels"
    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        spec, (fine, middle, coarse) = config.spec, config.channels
        self.backbone = Backbone((fine, middle, coarse), config.attention_layers, config.attention_heads)
        self.phrases = PhraseEncoder(spec.entries, config.phrase_size)
        self.head = ConditionedHead(middle, config.head_size, config.phrase_size, spec.kernel)
        self.prototypes = nn.Sequential(convolution(fine, fine), nn.Conv2d(fine, spec.prototypes, 1))
        self.post_init()  # type: ignore[no-untyped-call]
        head = self.head
        if head.heat.weight.device.type != "meta":  # else weights are about to be loaded
            # For few centres, boxes of three cells and almost no conditioning.
            for layer, std in ((head.heat, 0.01), (head.box, 0.01), (head.kernel, 0.01), (head.film, 0.05)):
                nn.init.normal_(layer.weight, std=std)
            nn.init.constant_(head.heat.bias, -math.log((1 - _PRIOR) / _PRIOR))
            nn.init.constant_(head.box.bias[2:], math.log(3.0))

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise convolutions and linear layers by He's rule, and embeddings with a standard deviation of 0.5."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
        elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, pixels: Tensor, words: Tensor, image: Tensor | None = None) -> CompactOutput:
        """Search (B, 3, H, W) float32 letterboxed images, 0 to 255, for (Q, L) int64 phrases from `spec.encode`.

        `image`: (Q,) int64, index of the image for each phrase; None if there is only one.
        """
        middle, fine, coarse = self.backbone(pixels / 127.5 - 1.0)
        projected = self.head.project(middle)  # does not depend on the phrase
        if image is not None:
            projected = projected[image]
        heat, box, kernel = self.head(projected, self.phrases(words))
        return CompactOutput(heat[:, 0], box, kernel, self.prototypes(fine), coarse)


OPSET = 18

_LARGEST = 1 << 31  # bytes: the largest message of protobuf
_REPAIR = "pass a writable path for the ONNX file"


def export(model: CompactModel, folder: Path, spec: CompactSpec | None = None) -> Path:
    """Write config.json, model.safetensors and model.onnx, with another `spec` if one is given; return the ONNX file.

    It maps pixels (1, 3, H, W) float32 and words (P, L) int64 to the fields of CompactOutput.
    """
    if spec is not None:
        model.config.update(_as_json(spec))
    model.save_pretrained(folder)
    spec = model.config.spec
    given = torch.zeros(1, 3, spec.height, spec.width), torch.ones(3, spec.length, dtype=torch.int64)
    shapes = {"pixels": {}, "words": {0: torch.export.Dim("phrases", min=1, max=256)}}
    write_onnx(model, given, folder / ONNX_FILE, CompactOutput._fields, shapes)
    return folder / ONNX_FILE


def write_onnx(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, outputs: Sequence[str], shapes: Mapping[str, Any]
) -> None:
    """Write a module, which is moved to the CPU and set to evaluation mode, as one ONNX file without traces.

    `shapes`: argument of `forward` → dimension → torch.export.Dim; {} if all are fixed.
    """
    module.train(False)
    try:
        with written_by_name(path, force=True) as written, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the exporter about itself
            torch.onnx.export(
                module.cpu(),
                example,
                written,
                input_names=list(shapes),
                output_names=list(outputs),
                dynamic_shapes=dict(shapes),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            strip_traces(written)
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error


def strip_traces(path: Path) -> None:
    """Remove metadata (stacks and paths of the exporting machine) from an ONNX file; its results stay bit-identical."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error
    try:
        model = onnx.load_model_from_string(read_bytes(path, _REPAIR, _LARGEST))
        _strip(model)
        write_bytes(path, model.SerializeToString(deterministic=True), force=True)
    except DecodeError as error:
        raise FileError(path, str(error).splitlines()[0], _REPAIR) from error


def _strip(message: Any) -> None:
    """Clear those fields of a protobuf message and of all nested messages."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)
