# SPDX-License-Identifier: Apache-2.0
"""The network of the small judge, and its export to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.vlm.compact.export import OPSET, strip_traces
from spatial_vlm_ros.vlm.compact.layers import Residual, convolution
from spatial_vlm_ros.vlm.relation_judge.crops import NUMBERS, OUTPUTS, PLANES, SIDE

_CHANNELS = (24, 48, 96, 160)
_TOLD = 64
_JOINED = 192


class RelationNet(nn.Module):
    """Crops (B, PLANES, SIDE, SIDE) and numbers (B, NUMBERS) → log-odds (B, len(OUTPUTS)) that relations hold."""

    def __init__(self) -> None:
        super().__init__()
        first, *others = _CHANNELS
        layers: list[nn.Module] = [convolution(PLANES, first, stride=2)]
        for given, wanted in zip(_CHANNELS, others, strict=False):
            layers += [convolution(given, wanted, stride=2), Residual(wanted)]
        self.seen = nn.Sequential(*layers)
        cells = (SIDE // 2 ** len(_CHANNELS)) ** 2
        self.places = nn.Conv2d(_CHANNELS[-1], 32, 1)  # where in the crop something is, which a mean forgets
        self.told = nn.Sequential(nn.Linear(NUMBERS, _TOLD), nn.SiLU(), nn.Linear(_TOLD, _TOLD), nn.SiLU())
        self.joined = nn.Sequential(
            nn.Linear(_CHANNELS[-1] + 32 * cells + _TOLD, _JOINED), nn.SiLU(), nn.Dropout(0.2),
            nn.Linear(_JOINED, len(OUTPUTS)),
        )  # fmt: skip

    def forward(self, planes: Tensor, told: Tensor) -> Tensor:
        """See the class."""
        seen = self.seen(planes)
        places = F.silu(self.places(seen)).flatten(1)
        return self.joined(torch.cat((seen.mean(dim=(2, 3)), places, self.told(told)), dim=1))


def export(network: RelationNet, path: Path) -> None:
    """Write a network as ONNX: planes and numbers of any batch → log_odds.

    Raises:
        DependencyError: onnxscript or onnx is not installed.
    """
    network.train(False)
    batch = torch.export.Dim("batch", min=1, max=4096)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            torch.onnx.export(
                network.cpu(),
                (torch.zeros(2, PLANES, SIDE, SIDE), torch.zeros(2, NUMBERS)),
                path,
                input_names=["planes", "told"],
                output_names=["log_odds"],
                dynamic_shapes={"planes": {0: batch}, "told": {0: batch}},
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except ModuleNotFoundError as error:
        raise DependencyError(str(error.name), f"pip install {error.name}") from error
    strip_traces(path)
