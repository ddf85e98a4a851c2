# SPDX-License-Identifier: Apache-2.0
"""The network of the small judge, and its export to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.files.writing import written_by_name
from spatial_vlm_ros.vlm.compact.export import OPSET, strip_traces
from spatial_vlm_ros.vlm.compact.layers import Residual, convolution
from spatial_vlm_ros.vlm.relation_judge.crops import INPUTS, NUMBERS, OUTPUTS, PLANES, SIDE, WHOLE

_CHANNELS = (24, 48, 96, 160)
_NARROW = (16, 32, 64, 96)  # channels for the whole image
_PLACES = 32  # channels that keep positions in the crop, which a mean forgets
_TOLD = 64
_JOINED = 192


class RelationNet(nn.Module):
    """Predicts the relations between two objects: log-odds (B, len(OUTPUTS)).

    Inputs are crops (B, PLANES, SIDE, SIDE), whole images (B, PLANES, WHOLE, WHOLE) and numbers (B, NUMBERS); see
    `JudgeInput`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.crop, self.whole = _Tower(_CHANNELS, SIDE), _Tower(_NARROW, WHOLE)
        self.told = nn.Sequential(nn.Linear(NUMBERS, _TOLD), nn.SiLU(), nn.Linear(_TOLD, _TOLD), nn.SiLU())
        self.joined = nn.Sequential(
            nn.Linear(self.crop.size + self.whole.size + _TOLD, _JOINED), nn.SiLU(), nn.Dropout(0.2),
            nn.Linear(_JOINED, len(OUTPUTS)),
        )  # fmt: skip

    def forward(self, planes: Tensor, whole: Tensor, told: Tensor) -> Tensor:
        """See the class."""
        return self.joined(torch.cat((self.crop(planes), self.whole(whole), self.told(told)), dim=1))


class _Tower(nn.Module):
    """An image (B, PLANES, S, S) → features of its content and their positions (B, size)."""

    def __init__(self, channels: tuple[int, ...], side: int) -> None:
        super().__init__()
        first, *others = channels
        layers: list[nn.Module] = [convolution(PLANES, first, stride=2)]
        for given, wanted in zip(channels, others, strict=False):
            layers += [convolution(given, wanted, stride=2), Residual(wanted)]
        self.seen, self.places = nn.Sequential(*layers), nn.Conv2d(channels[-1], _PLACES, 1)
        self.size = channels[-1] + _PLACES * (side // 2 ** len(channels)) ** 2

    def forward(self, image: Tensor) -> Tensor:
        seen = self.seen(image)
        return torch.cat((seen.mean(dim=(2, 3)), F.silu(self.places(seen)).flatten(1)), dim=1)


def export(network: RelationNet, path: Path) -> None:
    """Write a network as ONNX: the fields of `JudgeInput` for any batch size → log_odds."""
    network.train(False)
    batch = torch.export.Dim("batch", min=1, max=4096)
    try:
        with written_by_name(path, force=True) as written, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the exporter about itself
            torch.onnx.export(
                network.cpu(),
                (torch.zeros(2, PLANES, SIDE, SIDE), torch.zeros(2, PLANES, WHOLE, WHOLE), torch.zeros(2, NUMBERS)),
                written,
                input_names=list(INPUTS),
                output_names=["log_odds"],
                dynamic_shapes={name: {0: batch} for name in INPUTS},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
            strip_traces(written)
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error
