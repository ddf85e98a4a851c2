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
"""Method → its rates; docs/adapt.md has their sources."""


@dataclass(frozen=True)
class AdaptSettings:
    """Settings of an adaptation; only `rate`, `micro` and `checkpointing` may change during a run.

    Args:
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
        scheme = "1d" if self.positions is None else self.positions
        named = (("method", self.method, METHODS), ("norm", self.norm, NORMS), ("position scheme", scheme, AXES))
        for what, name, known in named:
            if name not in known:
                raise UnknownNameError(what, name, known)
        if min(self.steps, self.batch, self.rank, self.micro) < 1 or self.seed < 0:
            got = f"{self.steps} steps, batch {self.batch}, rank {self.rank}, micro {self.micro}, seed {self.seed}"
            raise InputError("training settings", got, "positive numbers")
        if self.rate is not None and not 0.0 < self.rate < 1.0:
            raise InputError("--rate", str(self.rate), "a number between 0 and 1")
        taken, why = {
            "pin": ([], "which leaves the base as it is"),
            "cloc": (["--encoder"], "which trains only an encoder"),
        }.get(self.method, (self.changes, ""))
        wrong = [name for name in self.changes if name not in taken]
        if wrong:
            raise InputError(f"--method {self.method}", " ".join(wrong), "none of them", f"leave them out: {why}")

    @property
    def changes(self) -> list[str]:
        """The options that are given and change a part of the base."""
        given = {
            "--positions": self.positions is not None,
            "--norm published": self.norm == "published",
            "--features": bool(self.features),
            "--encoder": self.new_encoder,
        }
        return [name for name, is_given in given.items() if is_given]

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

    def check_fits(self, kind: str) -> None:
        """Refuse options that a class of models does not support."""
        own = "its encoder comes with its projector" if kind == "paligemma" else "its encoder takes images of any size"
        wrong = [name for name in self.changes if name in ("--encoder", "--features")]
        wrong += ["--method cloc"] if self.method == "cloc" and not self.new_encoder else []
        if wrong and kind != SWAPPABLE:
            repair = f"leave {' and '.join(wrong)} out, or use a base of the class {SWAPPABLE}"
            raise ModelError(kind, f"does not accept {' and '.join(wrong)}: {own}", repair)
        if self.method == "pin" and kind not in WITH_PATCHES:
            takes = "--method projector or lora, with --norm and --positions"
            repair = f"use {takes}, or a base of {', '.join(WITH_PATCHES)}"
            raise ModelError(kind, f"does not accept a positional insert (PIN): {own}", repair)
