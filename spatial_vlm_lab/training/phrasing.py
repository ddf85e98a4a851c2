# SPDX-License-Identifier: Apache-2.0
"""Random training phrases about an image, true and false."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_lab.training.shards import Labelled, LabelledImage, Vocabulary

_PLAIN = 0.7  # share of names that are the label itself
_STRANGE_MODIFIER, _STRANGE_NOUN = 0.15, 0.35
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TrainingPhrase:
    """A phrase whose meaning is known.

    Args:
        text: for example "red cup".
        modifiers: modifiers that they must have.
    """

    text: str
    labels: frozenset[str]
    modifiers: frozenset[str] = frozenset()

    def names(self, one: Labelled) -> bool:
        """Whether it is true of an object."""
        return one.label in self.labels and self.modifiers <= set(one.attributes)

    @property
    def pair(self) -> tuple[str, str] | None:
        """Modifier and label, if it has one of each."""
        return (*self.modifiers, *self.labels) if len(self.modifiers) == len(self.labels) == 1 else None  # type: ignore[return-value]


def label_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each label that occurs, in alphabetical order."""
    labels = {one.label for sample in samples for one in sample.objects}
    return [TrainingPhrase(label, frozenset({label})) for label in sorted(labels)]


def modified_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each pair of attribute and label that occurs, in alphabetical order."""
    objects = [one for sample in samples for one in sample.objects]
    pairs = {(modifier, one.label) for one in objects for modifier in one.attributes}
    return [TrainingPhrase(f"{m} {label}", frozenset({label}), frozenset({m})) for m, label in sorted(pairs)]


def draw_phrases(
    rng: np.random.Generator, objects: Sequence[Labelled], vocabulary: Vocabulary, number: int
) -> list[TrainingPhrase]:
    """Draw training phrases for one image.

    Half name a visible object. A sixth each names a visible object with a true modifier, a visible object with a false
    modifier, or an absent or unknown object.
    """
    makers = (_true, _modified, _true, _wrongly_modified, _true, _absent)
    return [makers[n % len(makers)](rng, objects, vocabulary) for n in range(number)]


def _pick(rng: np.random.Generator, objects: Sequence[Labelled]) -> Labelled:
    return objects[int(rng.integers(len(objects)))]


def _true(rng: np.random.Generator, objects: Sequence[Labelled], vocabulary: Vocabulary) -> TrainingPhrase:
    if not objects:
        return _absent(rng, objects, vocabulary)
    name = _pick(rng, objects).label
    if rng.random() > _PLAIN:
        name = str(rng.choice([other for other, labels in vocabulary.names.items() if name in labels]))
    text = f"{_strange(rng)} {name}" if rng.random() < _STRANGE_MODIFIER else name
    return TrainingPhrase(text, frozenset(vocabulary.names[name]))


def _modified(rng: np.random.Generator, objects: Sequence[Labelled], vocabulary: Vocabulary) -> TrainingPhrase:
    if not objects:
        return _absent(rng, objects, vocabulary)
    one = _pick(rng, objects)
    if not one.attributes:
        return TrainingPhrase(one.label, frozenset({one.label}))
    modifier = str(rng.choice(list(one.attributes)))
    return TrainingPhrase(f"{modifier} {one.label}", frozenset({one.label}), frozenset({modifier}))


def _wrongly_modified(rng: np.random.Generator, objects: Sequence[Labelled], vocabulary: Vocabulary) -> TrainingPhrase:
    """A visible label with a modifier that few or none of its objects have."""
    if not objects:
        return _absent(rng, objects, vocabulary)
    label = _pick(rng, objects).label
    said = [modifier for modifier in vocabulary.modifiers if (modifier, label) not in vocabulary.withheld]
    modifier = str(rng.choice(said))
    return TrainingPhrase(f"{modifier} {label}", frozenset({label}), frozenset({modifier}))


def _absent(rng: np.random.Generator, objects: Sequence[Labelled], vocabulary: Vocabulary) -> TrainingPhrase:
    """The name of an absent object; sometimes a word that names nothing."""
    if rng.random() < _STRANGE_NOUN:
        return TrainingPhrase(_strange(rng), frozenset())
    seen = {one.label for one in objects}
    absent = [name for name, labels in vocabulary.names.items() if not seen & set(labels)]
    if not absent:
        return TrainingPhrase(_strange(rng), frozenset())
    name = str(rng.choice(absent))
    return TrainingPhrase(name, frozenset(vocabulary.names[name]))


def _strange(rng: np.random.Generator) -> str:
    return "q" + "".join(str(letter) for letter in rng.choice(list(_LETTERS), 7))
