# SPDX-License-Identifier: Apache-2.0
"""Questions with candidates, the protocol of a model that answers them, and items: questions with data for controls.

This module knows neither how images are drawn nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types import Rgb

Kind = Literal["absolute", "relative", "depth"]
Axis = Literal["left-right", "above-below", "depth"]
AXES: tuple[Axis, ...] = ("left-right", "above-below", "depth")
NOTHING: Mapping[str, str] = MappingProxyType({})
KINDS: tuple[Kind, ...] = ("absolute", "relative", "depth")


class Answerer(Protocol):
    """Answers a question about an image with one of given candidates: a model, a server, or a test's own class."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """Return one of the choices.

        Args:
            rgb: (H, W, 3) uint8.
            question: question without the candidates.
            choices: the choices in the order in which the model is to see them.
        """
        ...


@dataclass(frozen=True, eq=False)
class ItemPrompt:
    """One question with its candidates.

    Args:
        rgb: (H, W, 3) uint8.
        truth: one of the choices; None if the image does not show it.
    """

    rgb: Rgb
    question: str
    choices: tuple[str, ...]
    truth: str | None

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices):
            raise InputError("candidates", repr(self.choices), "two or more, all different")
        if self.truth is not None and self.truth not in self.choices:
            raise InputError("truth", repr(self.truth), f"one of {self.choices}", "use one of the candidates")


@dataclass(frozen=True, eq=False)
class ProbeItem:
    """A question with the data for its controls.

    Args:
        kind: "absolute" (where in the image), "relative" (where from another object), "depth" (which is farther).
        axis: axis along which the truth lies.
        mirror: answer → the consistent answer once left and right are exchanged; answers that are not listed stay.
        flip: likewise with top and bottom exchanged; None if such an image has no meaning.
        swapped: the question with its two objects exchanged along depth, for which the other answer is true.
    """

    key: str
    group: str
    kind: Kind
    axis: Axis
    plain: ItemPrompt
    paraphrase: str
    mirror: Mapping[str, str] = field(default_factory=dict)
    flip: Mapping[str, str] | None = field(default_factory=dict)
    swapped: Rgb | None = None
    cues: Mapping[str, bool] = field(default_factory=dict)

    @property
    def truth(self) -> str:
        """Truth of the plain question."""
        return str(self.plain.truth)

    @property
    def mirrored(self) -> str:
        """Truth in the image with left and right exchanged."""
        return self.mirror.get(self.truth, self.truth)

    @property
    def flipped(self) -> str | None:
        """Truth in the image with top and bottom exchanged; None if that image has no meaning."""
        return None if self.flip is None else self.flip.get(self.truth, self.truth)

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1.0 / len(self.plain.choices)


def ask(answerer: Answerer, asking: ItemPrompt) -> str:
    """Ask a question and return the answer."""
    answer = answerer.answer(asking.rgb, asking.question, asking.choices)
    if answer not in asking.choices:
        name = type(answerer).__name__
        raise ModelError(
            name, f"answers {answer!r}, not one of {asking.choices}", "make it choose among the candidates"
        )
    return answer
