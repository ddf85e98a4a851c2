# SPDX-License-Identifier: Apache-2.0
"""Match a detector's label to a phrase: parts of labels, synonyms and hypernyms from a reviewed table.

The most specific sense that has any referent wins. If an object labelled "container" is in view, "the container" is
that object and not every cup and can; with a green mug and a purple cup in view there is no purple mug.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.perception import name_groups
from spatial_vlm_ros.spatial.colours import colour_family, other_material
from spatial_vlm_ros.spatial.layout import is_own_sided
from spatial_vlm_ros.types import Detection, NounPhrase

SAME, PART, SYNONYM, HYPERNYM, HEAD_ONLY, OTHER_KIND, LESS_SPECIFIC, NONE = 1.0, 0.95, 0.9, 0.88, 0.86, 0.6, 0.4, 0.0
"""Fit by kind of match, in this order. The same head noun. A part of the label ("the spam"). A synonym. A hypernym.
The same head noun with a modifier that no label has ("the kitchen rack" beside one metal rack): an unseen object is
as likely, so it counts little against the only candidate. The same head noun of another kind ("the cup" for a
measuring cup). A label of a wider kind. No match."""

_TIERS = (SAME, PART, SYNONYM, HYPERNYM, HEAD_ONLY, OTHER_KIND, LESS_SPECIFIC)
_LESS_SPECIFIC_BESIDE_BETTER = 0.05  # what is left of a looser match if a more specific one is in view

_SYNONYMS = (
    "cup mug", "can tin", "box carton package packet", "bottle flask", "jar pot", "jug pitcher carafe ewer",
    "marker felt-tip pen", "cloth rag towel", "sponge scrubber", "flashlight torch", "eraser rubber", "sweet candy",
    "cookie biscuit", "chips crisps", "couch sofa settee", "television tv telly",
    "phone cellphone smartphone mobile telephone", "remote controller", "laptop notebook computer",
    "trash rubbish garbage", "bin trashcan wastebasket dustbin", "cupboard cabinet closet dresser", "tap faucet",
    "stove cooker hob range cooktop stovetop", "fridge refrigerator", "pan skillet frypan fryingpan", "plate dish",
    "bowl dish", "lid cap", "spanner wrench", "screwdriver driver", "rabbit bunny", "chick chicken", "dog puppy",
    "cat kitten", "bear teddy", "car automobile", "bike bicycle", "block brick cube", "ball sphere", "tablet pill",
    "bag sack pouch", "glasses spectacles", "picture photo photograph", "tissue wipe kleenex", "aubergine eggplant",
    "courgette zucchini", "soda pop", "canister tub", "case etui", "toy figure figurine", "scissors shears",
    "wineglass goblet", "organizer organiser caddy", "desk table worktable workbench", "counter countertop worktop",
    "box crate", "tray platter", "basket hamper", "rack stand holder", "shelf rack bookshelf bookcase shelves",
    "moka-pot coffee-pot percolator", "rag dishcloth", "pen ballpoint biro", "spatula turner", "ladle scoop",
    "hammer mallet", "donut doughnut", "peg dowel", "rope cord", "brick block", "oven stove", "book novel",
    "planter pot flowerpot", "pot saucepan", "bin crate tote", "cable cord wire", "napkin serviette",
    "handbag purse", "pepper capsicum", "carton box", "headphone earphone headset", "hat cap",
)  # fmt: skip
"""Words for the same objects; a word may be in several groups. A hyphen joins the words of one name."""
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
    "canister": "can tin tub jar",
    "pan": "saucepan wok",
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
        *("unit", "set", "kit"),
    )
)
"""Heads of labels whose first word names the content: "the spam" is the spam can, but "the can" is not a can opener."""
_LIKENESSES = frozenset(
    ("bank", "doll", "figure", "figurine", "ornament", "plush", "puppet", "sculpture", "statue", "statuette")
)
"""Heads of labels for likenesses of the creature in the first word, which may be named by it: "the dog" is the dog
figurine. A dog toy is not included: dogs play with it."""
_FORMS = frozenset(("ball", "bar", "block", "coil", "loaf", "reel", "roll", "sheet", "skein", "spool", "stick"))
"""Forms of a material: a roll of tape is tape."""
_STUFFS = frozenset({"tape"})
"""Nouns in the tables that name what a dispenser gives out."""
_DIMINUTIVES = {"piggy": "pig", "doggy": "dog", "doggie": "dog", "kitty": "cat", "ducky": "duck", "horsey": "horse"}
_PACKS = frozenset(("box", "can", "tin", "bottle", "jar", "carton", "packet", "pack", "package", "tub", "tube"))
_ANYTHING = frozenset({"object", "thing", "item"})
_DESCRIBING = frozenset(
    (
        *("aluminium", "aluminum", "bamboo", "brass", "cardboard", "ceramic", "chrome", "clay", "cloth"),
        *("copper", "enamel", "fabric", "foam", "glass", "iron", "leather", "metal", "metallic", "paper"),
        *("plastic", "porcelain", "rubber", "silicone", "stainless", "steel", "stone", "tin", "wicker", "wire"),
        *("wood", "wooden"),
        *("big", "broad", "flat", "great", "high", "large", "little", "long", "low", "mini", "narrow", "open", "plain"),
        *("round", "short", "simple", "small", "square", "tall", "thick", "thin", "tiny", "wide", "rectangular"),
        *("battery", "cordless", "electric", "electrical", "handheld", "portable", "powered"),
        *("compartment", "divided", "partitioned", "sectioned", "segmented", "stepped"),
        "toy",
        *("striped", "two", "three", "tier", "tiered", "single", "double"),
        *("bathroom", "bench", "cooking", "desk", "desktop", "dining", "everyday", "household", "indoor"),
        *("kitchen", "office", "outdoor", "storage", "table", "tabletop", "wall", "workshop"),
    )
)
"""Modifiers that an object may have in addition to those in its label: material, size and form, place, drive."""


_OWN_KINDS = {
    "ball": "crystal", "block": "chopping cinder engine starting", "board": "circuit ironing surf white",
    "bowl": "cat dog fish goldfish pet toilet",
    "box": "fuse jewellery jewelry junction letter litter lunch mail music tool",
    "brick": "lego", "brush": "hair paint toilet tooth", "can": "gas spray watering",
    "card": "credit graphic memory playing", "cup": "egg measuring suction", "glass": "hour looking magnifying",
    "hat": "hard", "pan": "bed dust", "paper": "sand toilet wall", "plate": "book hot license licence name number",
    "spoon": "measuring", "stand": "cake music", "tape": "measuring video", "towel": "paper",
}  # fmt: skip
"""Head noun → modifiers that make a different kind of object. "The cup" may mean a measuring cup only as a question;
if a real cup is in view, a measuring cup does not match."""
_LONGEST_NAME = 4  # words of a listed name
_AMOUNTS = frozenset({"pair", "a pair", "piece", "a piece", "set", "a set", "bit", "a bit"})
_ONE_NAME = {
    "chest of drawers": "dresser",
    "drawer unit": "dresser",
    "drawer chest": "dresser",
    "moka pot": "moka-pot",
    "coffee pot": "coffee-pot",
    "felt tip": "felt-tip",
    "frying pan": "fryingpan",
    "fry pan": "frypan",
    "trash can": "trashcan",
    "garbage can": "trashcan",
    "rubbish bin": "trashcan",
    "waste bin": "trashcan",
    "flower pot": "flowerpot",
    "book shelf": "bookshelf",
    "book case": "bookcase",
    "work bench": "workbench",
    "chopping board": "cutting board",
    "chopping block": "cutting board",
}
"""Names of several words of which no part may stand alone."""
_SEVERAL_WORDS = re.compile(rf"\b(?:{'|'.join(sorted(_ONE_NAME, key=len, reverse=True))})")


def _singular(word: str) -> str:
    """Turn plural into singular, well enough to compare words ("scissors" and "scissor" are one)."""
    if word.endswith(("ss", "us", "is")) or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "oes")):
        return word[:-2]
    return word.removesuffix("s")


_SYNONYM_SETS = tuple(
    frozenset(_singular(word) for word in group.split()) for group in (*_SYNONYMS, *name_groups.SYNONYMS)
)


def label_match(phrases: Sequence[NounPhrase], detections: Sequence[Detection]) -> npt.NDArray[np.float64]:
    """How well each label fits the category of each phrase: (P, N) float64 in 0..1.

    Args:
        phrases: P phrases.
        detections: N detections; a word of the category may also be one of a detection's attributes.
    """
    match = np.zeros((len(phrases), len(detections)))
    for p, phrase in enumerate(phrases):
        for n, detection in enumerate(detections):
            match[p, n] = label_fit(phrase.category, detection.label, tuple(detection.attributes))
        best = match[p].max(initial=0.0)
        # as specific as the best one: by name, then by kind, then vaguely
        tier = next((floor for floor in _TIERS if best >= floor), 0.0)
        looser = match[p] < tier
        match[p, looser] = _LESS_SPECIFIC_BESIDE_BETTER * np.minimum(match[p, looser], OTHER_KIND)
    return match


@lru_cache(maxsize=4096)
def label_fit(category: str, label: str, attributes: tuple[str, ...] = ()) -> float:
    """Fit of one label to one category, 0 to 1; see the constants for what each value means."""
    said, seen = _words(category), _words(label)
    if not said or not seen:
        return NONE
    if said == ("object",) or category in _ANYTHING:
        return SAME
    given = frozenset(word for a in attributes for word in _words(a))
    fit = max(_named(said, seen, given), _by_whole_name(said, seen, given))
    if fit > LESS_SPECIFIC:
        return fit
    # A detector calls cream cheese "the cream cheese box", and the bbq sauce a sauce bottle. A bag of apples is not an
    # apple, and a packet of sugar is not a sugar bowl.
    if len(said) > 1 and said[-1] in _PACKS and seen[-1] not in _HOLDERS | _members("fruit") | _members("vegetable"):
        inside = _named(said[:-1], seen, given)
        fit = max(fit, SYNONYM if inside in (SAME, SYNONYM) else NONE)
    if len(seen) > 1 and seen[-1] in _HOLDERS and said[-1] not in _HOLDERS:
        inside = _named(said, seen[:-1], given)
        fit = max(fit, OTHER_KIND if inside == HYPERNYM else min(inside, HEAD_ONLY))
    form, of, stuff = label.lower().partition(" of ")
    if of and form.split()[-1] in _FORMS:
        fit = max(fit, min(_named(said, _words(stuff), given), PART))
    return fit


def _by_whole_name(said: tuple[str, ...], seen: tuple[str, ...], given: frozenset[str]) -> float:
    """Fit if phrase and label end in two names of one object: "sorting tray" and "divided tray"."""
    fit = NONE
    for length, number in _ending(said):
        for other, same in _ending(seen):
            if number == same:
                alike = _named((*said[:-length], "it"), (*seen[:-other], "it"), given)
                fit = max(fit, min(alike, SYNONYM))
    return fit


def _ending(words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for length in range(1, min(len(words), _LONGEST_NAME) + 1):
        for number, plainly in _names().get(words[-length:], ()):
            if not plainly or all(map(_describes, words[:-length])):
                yield length, number


@lru_cache(maxsize=1)
def _names() -> dict[tuple[str, ...], tuple[tuple[int, bool], ...]]:
    """Words of a listed name → its groups, and whether only describing words may precede it there."""
    found: dict[tuple[str, ...], tuple[tuple[int, bool], ...]] = {}
    for number, group in enumerate(name_groups.NAMES):
        for name in group.split("|"):
            words = _words(name.removeprefix("="))
            found[words] = (*found.get(words, ()), (number, name.startswith("=")))
    return found


def _carried(word: str, seen: Collection[str]) -> bool:
    if word in seen:
        return True
    if _describes(word):
        return False
    return any(other in _members(word) or any({word, other} <= group for group in _SYNONYM_SETS) for other in seen)


def _named(said: tuple[str, ...], seen: tuple[str, ...], given: frozenset[str]) -> float:
    """Fit of the words of a label, and of the detector's other words for the object, to the words of a phrase."""
    *said_modifiers, said_head = said
    *seen_modifiers, seen_head = seen
    unknown = [word for word in said_modifiers if word not in given and not _carried(word, seen_modifiers)]
    # Modifiers of one kind exclude each other: a soup can is not a tuna can. Material and storage place exclude
    # nothing: a tin can may be the soup can.
    apart = any(not _describes(word) for word in unknown) and any(
        not _describes(word) for word in seen_modifiers if word not in said
    )
    if said_head == seen_head or any({said_head, seen_head} <= group for group in _SYNONYM_SETS):
        own = _own_kinds(said_head) | _own_kinds(seen_head)
        if not unknown and not own.isdisjoint(set(seen_modifiers) - set(said)):
            return OTHER_KIND  # a measuring cup may be called a cup if nothing else is one
        if not unknown:
            return SAME if said_head == seen_head else SYNONYM
        other_kind = said_head != seen_head and not all(map(_describes, unknown))  # an ice block is not a foam brick
        other_kind |= not own.isdisjoint(unknown)
        return NONE if apart or other_kind or _excluded(unknown, {*seen_modifiers, *given}) else HEAD_ONLY
    if set(said) <= set(seen_modifiers) and (seen_head in _HOLDERS or said_head not in _known_objects()):
        return PART
    if seen_head in _LIKENESSES and is_own_sided(said_head) and seen_modifiers:
        shown = min(_named(said, tuple(seen_modifiers), given), PART)
        if shown > HEAD_ONLY:
            return shown
    if seen_head == "dispenser" and said_head in _STUFFS and set(said) <= set(seen_modifiers):
        return OTHER_KIND
    if said_head in seen_modifiers and seen_head in _HOLDERS:
        return LESS_SPECIFIC
    if seen_head in _members(said_head) and not unknown:
        return HYPERNYM
    if (said_head in _members(seen_head) and not said_modifiers) or seen_head in _ANYTHING:
        return LESS_SPECIFIC
    return NONE


def _excluded(unknown: Sequence[str], seen: Collection[str]) -> bool:
    colours = {colour_family(word) for word in seen} - {None}
    said = {colour_family(word) for word in unknown} - {None}
    return bool(said and colours and not said & colours) or any(other_material(word, seen) for word in unknown)


def _describes(modifier: str) -> bool:
    """Whether a modifier describes material, appearance or storage place, and not the kind of object."""
    return modifier in _DESCRIBING or colour_family(modifier) is not None


@lru_cache(maxsize=1)
def _known_objects() -> frozenset[str]:
    """Nouns of the tables: "can" names an object itself, so a can opener is not a can."""
    members = (word for kinds in (_HYPERNYMS, name_groups.KINDS) for words in kinds.values() for word in words.split())
    return frozenset(_singular(word) for word in members).union(*_SYNONYM_SETS)


@lru_cache(maxsize=256)
def _own_kinds(head: str) -> frozenset[str]:
    return frozenset(_OWN_KINDS.get(head, "").split())


@lru_cache(maxsize=64)
def _members(hypernym: str) -> frozenset[str]:
    words = f"{_HYPERNYMS.get(hypernym, '')} {name_groups.KINDS.get(hypernym, '')}"
    return frozenset(_singular(word) for word in words.split())


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    """Lower-case words without plural endings, the head last; hyphens and underscores separate words.

    "A box of crackers" is a cracker box, "a chest of drawers" and the like are one name, and a pair of X is an X.
    """
    plain = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    plain = _SEVERAL_WORDS.sub(lambda found: _ONE_NAME[found[0]], plain)
    first, of, rest = plain.partition(" of ")
    if of and rest:
        plain = rest if first in _AMOUNTS else f"{rest} {first}"
    words = tuple(_DIMINUTIVES.get(word) or _singular(word) for word in plain.split())
    return words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words
