# SPDX-License-Identifier: Apache-2.0
"""Does a detector's label name what a phrase names? Parts of labels, synonyms and hypernyms from a reviewed table.

The most specific sense that has any referent wins: with an object labelled "container" in view, "the container" is that
one and not every cup and can; with a green mug and a purple cup in view there is no purple mug.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, NounPhrase

SAME, PART, SYNONYM, HYPERNYM, LESS_SPECIFIC, NONE = 1.0, 0.95, 0.9, 0.88, 0.5, 0.0
"""Fit by kind of match: the same head noun; a part of the label ("the spam"); a synonym; a kind of;
a label that says less than the phrase; nothing."""

_LESS_SPECIFIC_BESIDE_BETTER = 0.05  # what is left of a looser match once a more specific one is in view

_SYNONYMS = (
    "cup mug", "can tin", "box carton package packet", "bottle flask", "jar pot", "jug pitcher carafe",
    "marker felt-tip pen", "cloth rag towel", "sponge scrubber", "flashlight torch", "eraser rubber", "sweet candy",
    "cookie biscuit", "chips crisps", "couch sofa settee", "television tv telly",
    "phone cellphone smartphone mobile telephone", "remote controller", "laptop notebook computer",
    "trash rubbish garbage", "bin trashcan wastebasket dustbin", "cupboard cabinet closet", "tap faucet",
    "stove cooker hob range", "fridge refrigerator", "pan skillet", "plate dish", "bowl dish", "lid cap",
    "spanner wrench", "screwdriver driver", "rabbit bunny", "chick chicken", "dog puppy", "cat kitten", "bear teddy",
    "car automobile", "bike bicycle", "block brick cube", "ball sphere", "tablet pill", "bag sack pouch",
    "glasses spectacles", "picture photo photograph", "tissue wipe kleenex", "aubergine eggplant", "courgette zucchini",
    "soda pop", "canister tub", "case etui", "toy figure figurine", "scissors shears", "wineglass goblet",
)  # fmt: skip
_HYPERNYMS = {
    "fruit": "apple banana orange pear lemon lime peach plum strawberry grape grapes mango kiwi cherry melon "
    "pineapple apricot nectarine tangerine mandarin",
    "vegetable": "carrot tomato potato onion pepper cucumber lettuce broccoli cabbage garlic eggplant aubergine "
    "zucchini courgette corn mushroom celery radish",
    "food": "apple banana orange pear lemon lime peach plum strawberry bread cereal cookie cracker crackers chips "
    "soup sandwich cheese egg meat sausage pizza cake donut candy chocolate spam tuna noodles rice pasta carrot "
    "tomato",
    "drink": "water juice milk coffee tea cola coke soda beer wine lemonade",
    "container": "cup mug can tin jar box bottle bowl carton canister tub bin basket bucket pot jug pitcher case "
    "packet glass vase tray crate bag flask carafe tupperware",
    "vessel": "cup mug bowl jar bottle jug pitcher pot vase glass carafe",
    "dish": "plate bowl saucer",
    "dishes": "plate bowl saucer cup mug",
    "tableware": "plate bowl saucer cup mug glass fork knife spoon",
    "cutlery": "fork knife spoon teaspoon chopsticks",
    "silverware": "fork knife spoon teaspoon",
    "utensil": "fork knife spoon teaspoon whisk spatula ladle tongs peeler grater",
    "tool": "hammer screwdriver wrench spanner pliers drill saw scissors clamp tape wrench chisel file knife level "
    "flashlight torch",
    "toy": "block ball car doll robot bear duck train puzzle chick teddy lego",
    "animal": "dog cat chick chicken duck bear rabbit bunny horse cow pig sheep bird elephant lion giraffe fish",
    "bird": "chick chicken duck parrot eagle penguin",
    "furniture": "chair table desk sofa couch shelf cabinet cupboard bed stool bench drawer dresser",
    "device": "phone laptop tablet remote camera keyboard mouse television speaker",
    "stationery": "pen pencil marker eraser stapler ruler scissors notebook highlighter crayon",
    "pen": "marker highlighter ballpoint",
    "cookware": "pan pot skillet wok saucepan lid",
    "glass": "wineglass goblet tumbler",
    "ball": "baseball softball basketball football golfball racquetball",
    "package": "box bag packet carton parcel",
    "clothing": "shirt sock hat glove scarf jacket shoe towel",
    "vehicle": "car truck bus train bike bicycle motorcycle van",
    "medicine": "pill tablet syrup",
}
_HOLDERS = frozenset(
    (
        *("can", "tin", "box", "bottle", "jar", "canister", "carton", "packet", "pack", "package", "bag", "tub"),
        *("tube", "container", "jug", "pouch", "sachet", "block", "brick", "bar", "loaf"),
    )
)
"""Heads of labels whose front word names what is in them: "the spam" is the spam can, but "the can" no can opener."""
_ANYTHING = frozenset({"object", "thing", "item"})


def _singular(word: str) -> str:
    """Plural to singular, well enough to compare two words treated alike ("scissors" and "scissor" are one)."""
    if word.endswith(("ss", "us", "is")) or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "oes")):
        return word[:-2]
    return word.removesuffix("s")


_SYNONYM_SETS = tuple(frozenset(_singular(word) for word in group.split()) for group in _SYNONYMS)


def label_match(phrases: Sequence[NounPhrase], detections: Sequence[Detection]) -> npt.NDArray[np.float64]:
    """How well each label fits the category of each phrase: (P, N) float64 in 0..1.

    Args:
        phrases: P phrases.
        detections: N detections; a word of the category may also stand among a detection's attributes.
    """
    match = np.zeros((len(phrases), len(detections)))
    for p, phrase in enumerate(phrases):
        for n, detection in enumerate(detections):
            match[p, n] = label_fit(phrase.category, detection.label, tuple(detection.attributes))
        best = match[p].max(initial=0.0)
        # of the same specificity as the best one: naming outright, then by kind, then vaguely
        tier = next((floor for floor in (SAME, PART, SYNONYM, HYPERNYM, LESS_SPECIFIC) if best >= floor), 0.0)
        looser = match[p] < tier
        match[p, looser] *= _LESS_SPECIFIC_BESIDE_BETTER
    return match


@lru_cache(maxsize=4096)
def label_fit(category: str, label: str, attributes: tuple[str, ...] = ()) -> float:
    """Fit of one label to one category, 0 to 1; see the constants for what each value means.

    Args:
        category: noun of a phrase, compounds separated by spaces.
        label: as the detector gives it.
        attributes: further words the detector gives of the same object.
    """
    said, seen = _words(category), _words(label)
    if not said or not seen:
        return NONE
    if said == ("object",) or category in _ANYTHING:
        return SAME
    *said_modifiers, said_head = said
    *seen_modifiers, seen_head = seen
    given = {*seen_modifiers, *(word for a in attributes for word in _words(a))}
    if said_head == seen_head:
        unknown = [word for word in said_modifiers if word not in given]
        if not unknown:
            return SAME
        return LESS_SPECIFIC if not seen_modifiers else NONE
    if set(said) <= set(seen_modifiers) and (seen_head in _HOLDERS or said_head not in _known_objects()):
        return PART
    if said_head in seen_modifiers and seen_head in _HOLDERS:
        return LESS_SPECIFIC
    if any({said_head, seen_head} <= group for group in _SYNONYM_SETS):
        return SYNONYM if not [w for w in said_modifiers if w not in given] else NONE
    if seen_head in _members(said_head) and all(word in given for word in said_modifiers):
        return HYPERNYM
    if (said_head in _members(seen_head) and not said_modifiers) or seen_head in _ANYTHING:
        return LESS_SPECIFIC
    return NONE


@lru_cache(maxsize=1)
def _known_objects() -> frozenset[str]:
    """Nouns of the tables: "can" names an object of its own, so a can opener is no can."""
    members = (word for words in _HYPERNYMS.values() for word in words.split())
    return frozenset(_singular(word) for word in members).union(*_SYNONYM_SETS)


@lru_cache(maxsize=64)
def _members(hypernym: str) -> frozenset[str]:
    return frozenset(_singular(word) for word in _HYPERNYMS.get(hypernym, "").split())


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    """Lower-case words without plural endings; hyphens and underscores separate words."""
    return tuple(_singular(word) for word in text.lower().replace("_", " ").replace("-", " ").split())
