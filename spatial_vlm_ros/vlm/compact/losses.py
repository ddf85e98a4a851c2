# SPDX-License-Identifier: Apache-2.0
"""Training losses, written from the published formulas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spatial_vlm_ros.vlm.compact.model import CompactOutput
from spatial_vlm_ros.vlm.compact.spec import MASK_STRIDE

_BOX, _SIDES, _MASK = 2.0, 0.5, 1.0  # weights of the parts relative to the heat-map's
_MARGIN = 0.15  # share of a box's sides: a mask is trained within the box and this margin


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a TrainingBatch as tensors; see TrainingBatch for their shapes."""

    heat: Tensor
    box: Tensor
    box_weight: Tensor
    mask_at: Tensor
    mask_box: Tensor
    mask: Tensor


def losses(output: CompactOutput, targets: Targets) -> dict[str, Tensor]:
    """Compute all parts of the loss and their weighted sum.

    Returns:
        "heat", "box", "sides" and "mask" unweighted, and "total", weighted; scalars.
    """
    parts = {
        "heat": focal(output.heat, targets.heat),
        **_boxes(output.box, targets),
        "mask": mask_loss(output, targets),
    }
    total = parts["heat"] + _BOX * parts["box"] + _SIDES * parts["sides"] + _MASK * parts["mask"]
    return {**parts, "total": total}


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss with reduced penalty around centres (Law & Deng 2018, equation 1; alpha 2, beta 4).

    Args:
        logits: (Q, h, w).
        target: (Q, h, w), 1 at centres, 0 to 1 around, negative where there is no target.

    Returns:
        Sum over cells divided by the number of centres (at least 1); scalar.
    """
    p = logits.sigmoid()
    centre, said = target == 1.0, target >= 0.0
    hit = (1 - p) ** 2 * F.logsigmoid(logits)
    miss = (1 - target).clamp(0, 1) ** 4 * p**2 * F.logsigmoid(-logits)
    total = -(hit[centre].sum() + miss[said & ~centre].sum())
    return total / centre.sum().clamp(min=1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of (N, 4) boxes x0, y0, x1, y1: (N,) in -1..1."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    union = (areas - inner).clamp(min=1e-6)
    return inner / union - (hull - union) / hull.clamp(min=1e-6)


def _boxes(box: Tensor, targets: Targets) -> dict[str, Tensor]:
    """GIoU and smooth L1 of offsets and sides, over the bells of the objects; each object has the same weight."""
    q, y, x = targets.box_weight.nonzero(as_tuple=True)
    weight = targets.box_weight[q, y, x]
    objects = weight.sum().clamp(min=1.0)
    said, wanted = box[q, :, y, x], targets.box[q, :, y, x]
    iou = generalised_iou(_corners(said), _corners(wanted))
    sides = F.smooth_l1_loss(said, wanted, reduction="none", beta=0.2).sum(1)
    return {"box": (weight * (1 - iou)).sum() / objects, "sides": (weight * sides).sum() / objects}


def _corners(box: Tensor) -> Tensor:
    """(N, 4) centre offset and logarithm of the sides → corners in cells, relative to the cell's centre."""
    half = box[:, 2:].clamp(max=6.0).exp() / 2
    return torch.cat([box[:, :2] - half, box[:, :2] + half], dim=1)


def mask_logits(kernels: Tensor, prototypes: Tensor, boxes: Tensor) -> Tensor:
    """Compute masks at the prototypes' resolution: (M, H/4, W/4) logits.

    Args:
        kernels: (M, K): weights of the K - 3 prototypes and of the positions across and down, and a constant.
        prototypes: (M, K - 3, H/4, W/4), of each mask's image.
        boxes: (M, 4) x0, y0, x1, y1, pixels; positions run from -1 to 1 between the sides of the box.
    """
    x, y = _places(boxes, prototypes.shape[-2], prototypes.shape[-1])
    seen = torch.einsum("mk,mkhw->mhw", kernels[:, :-3], prototypes)
    place = kernels[:, -3, None, None] * x[:, None] + kernels[:, -2, None, None] * y[:, :, None]
    return seen + place + kernels[:, -1, None, None]


def mask_loss(output: CompactOutput, targets: Targets) -> Tensor:
    """Cross-entropy and Dice loss (Milletari et al. 2016) of masks in and around their boxes; a scalar."""
    if not len(targets.mask_at):
        return output.kernel.sum() * 0.0
    q, row, column, image = targets.mask_at.unbind(1)
    logits = mask_logits(output.kernel[q, :, row, column], output.prototypes[image], targets.mask_box)
    x, y = _places(targets.mask_box, logits.shape[-2], logits.shape[-1])
    reach = 1 + 2 * _MARGIN
    near = ((x.abs() <= reach)[:, None] & (y.abs() <= reach)[:, :, None]).to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits, targets.mask, reduction="none")
    cross = (cross * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1)
    p = logits.sigmoid() * near
    dice = 1 - (2 * (p * targets.mask).sum((1, 2)) + 1) / ((p * p).sum((1, 2)) + targets.mask.sum((1, 2)) + 1)
    return (cross + dice).mean()


def _places(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(M, W/4) and (M, H/4) positions of columns and rows of prototypes, -1 to 1 between the sides of each box."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1.0)
    x = (torch.arange(width, device=boxes.device) + 0.5) * MASK_STRIDE
    y = (torch.arange(height, device=boxes.device) + 0.5) * MASK_STRIDE
    return (x[None] - centre[:, :1]) / half[:, :1], (y[None] - centre[:, 1:]) / half[:, 1:]
