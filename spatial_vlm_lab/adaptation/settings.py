# SPDX-License-Identifier: Apache-2.0
"""Settings of an adaptation: what is trained, how long and how fast, and which options fit together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.vlm.remedies.pin import WITH_PATCHES
from spatial_vlm_ros.vlm.remedies.positions import AXES

NORMS = ("published", "none")
SWAPPABLE = "llava"
"""`model_type` of the class whose encoder and feature layers can be exchanged."""


@dataclass(frozen=True)
class MethodRates:
    """Published or chosen settings of a method.

    Args:
        rate: highest learning rate of the main modules: projector, LoRA, PIN, or CLOC's new modules.
        second: learning rate of the rest: the projector beside LoRA, the encoder of CLOC; 0 = there is none.
        warm: share of the steps in which the rate rises; a half cosine follows. None: the rate stays the same.
        betas: Adam's betas.
        places: share of lessons that ask for the location of an object.
    """

    rate: float
    second: float
    warm: float | None
    betas: tuple[float, float]
    decay: float
    places: float


METHODS: Mapping[str, MethodRates] = MappingProxyType(
    {
        "projector": MethodRates(1e-3, 0.0, 0.03, (0.9, 0.999), 0.0, 0.25),
        "lora": MethodRates(2e-4, 2e-5, 0.03, (0.9, 0.999), 0.0, 0.25),
        "pin": MethodRates(1e-3, 0.0, None, (0.9, 0.999), 0.0, 1.0),
        "cloc": MethodRates(5e-4, 1e-5, 0.03, (0.9, 0.98), 0.2, 0.0),
    }
)
"""Method → its rates.

Projector, warm-up and cosine: LLaVA-1.5's pre-training (1e-3, 0.03, no decay); LoRA: its finetune_lora.sh (2e-4,
projector 2e-5); PIN: Adam 1e-3 without decay (arXiv 2402.08657); CLOC: AdamW, 0.9 and 0.98, 5e-4, decay 0.2 (arXiv
2410.02746). Our own choices are 1e-5 for an encoder that is already trained, and the shares of locations.
"""


@dataclass(frozen=True)
class AdaptSettings:
    """Settings of an adaptation; only `rate`, `micro` and `checkpointing` may change during a run.

    Args:
        method: a key of METHODS.
        positions: a scheme of the language model, a key of `positions.AXES`; None = as in the base.
        norm: "published" or "none".
        features: layers of the encoder, counted as hidden states; empty = as in the base.
        batch: lessons per step; for CLOC images.
        rate: highest learning rate; None = that of METHODS.
        micro: lessons per forward pass; the gradient is that of the whole batch.
    """

    method: str
    positions: str | None = None
    norm: str = "none"
    features: tuple[int, ...] = ()
    new_encoder: bool = False
    steps: int = 2000
    batch: int = 16
    seed: int = 0
    rank: int = 16
    rate: float | None = None
    micro: int = 1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnknownNameError("method", self.method, METHODS)
        if self.positions is not None and self.positions not in AXES:
            raise UnknownNameError("position scheme", self.positions, AXES)
        if self.norm not in NORMS:
            raise UnknownNameError("norm", self.norm, NORMS)
        if min(self.steps, self.batch, self.rank, self.micro) < 1 or self.seed < 0:
            got = f"{self.steps} steps, batch {self.batch}, rank {self.rank}, micro {self.micro}, seed {self.seed}"
            raise InputError("training settings", got, "positive numbers")
        if self.rate is not None and not 0.0 < self.rate < 1.0:
            raise InputError("--rate", str(self.rate), "a number between 0 and 1")
        given = {
            "--positions": self.positions is not None,
            "--norm published": self.norm == "published",
            "--features": bool(self.features),
            "--encoder": self.new_encoder,
        }
        taken = {"pin": (), "cloc": ("--encoder",)}.get(self.method, tuple(given))
        wrong = [name for name, is_given in given.items() if is_given and name not in taken]
        if wrong:
            why = {"pin": "which leaves the base as it is", "cloc": "which trains only an encoder"}[self.method]
            raise InputError(f"--method {self.method}", " ".join(wrong), "none of them", f"leave them out: {why}")

    @property
    def rates(self) -> MethodRates:
        """Rates of the method."""
        return METHODS[self.method]

    @property
    def highest(self) -> tuple[float, float]:
        """Highest learning rates of the first and second group; a given `rate` scales both.

        A new projector beside LoRA has the rate of the projector method, because it is trained from scratch.
        """
        own = self.rates
        anew = self.method == "lora" and (self.new_encoder or bool(self.features))
        scale = 1.0 if self.rate is None else self.rate / own.rate
        return own.rate * scale, (METHODS["projector"].rate if anew else own.second) * scale

    def factor(self, step: int) -> float:
        """Factor of the highest rate at a step, counted from 0."""
        if self.rates.warm is None:
            return 1.0
        warm = max(1, round(self.rates.warm * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


def check_fits(settings: AdaptSettings, kind: str) -> None:
    """Refuse options that a class of models does not support.

    Args:
        kind: `model_type` of the base, a key of `parts.ARCHITECTURES`.
    """
    own = "its encoder comes with its projector" if kind == "paligemma" else "its encoder takes images of any size"
    if kind != SWAPPABLE:
        wrong = [n for n, given in (("--encoder", settings.new_encoder), ("--features", settings.features)) if given]
        wrong += ["--method cloc"] if settings.method == "cloc" and not settings.new_encoder else []
        if wrong:
            repair = f"leave {' and '.join(wrong)} out, or use a base of the class {SWAPPABLE}"
            raise ModelError(kind, f"does not accept {' and '.join(wrong)}: {own}", repair)
    if settings.method == "pin" and kind not in WITH_PATCHES:
        takes = "--method projector or lora, with --norm and --positions"
        repair = f"use {takes}, or a base of {', '.join(WITH_PATCHES)}"
        raise ModelError(kind, f"does not accept a positional insert (PIN): {own}", repair)
