# SPDX-License-Identifier: Apache-2.0
"""The relation words, all phrases of the word tables in one dictionary, and the relations of other packages.

Relations are read from relations.toml; docs/relations.md explains what each means. Those of installed packages are
found by entry point, loaded at the first sentence, and refused if they clash.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from spatial_vlm_ros.errors import PlugInError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.patterns import WORDS, Kinds, Phrases, Tables, read_table
from spatial_vlm_ros.types import Distance, FrameOfReference, Relation

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class RelationWords(NamedTuple):
    """Value of a relation token."""

    name: str
    frame: FrameOfReference | None = None
    motion: bool = False  # the words only name a destination ("onto")
    distance: Distance | None = None
    also: tuple[str, ...] = ()  # further relations to the same anchor


@dataclass(frozen=True)
class RelationWord:
    """One relation between objects."""

    name: str  # canonical plain English name
    surfaces: tuple[str, ...]
    motion: tuple[str, ...] = ()  # ways of saying it that are only used for a destination ("onto")
    verbs: tuple[str, ...] = ()  # ways of saying it as a verb ("that touches")
    anchors: int = 1  # number of objects it relates to, 1 or 2
    framed: bool = False  # True if it depends on a frame of reference
    supported: bool = True  # True if the resolver knows it; an unsupported one is parsed, and refused by name later


@dataclass(frozen=True)
class Meanings:
    """Words with several meanings."""

    names: tuple[str, ...]
    surfaces: tuple[str, ...]
    reversed_by: frozenset[str]
    likelier: float  # share of the first meaning for other nouns, 0 to 1
    taken: bool  # True if this meaning applies only to an object that is taken from somewhere ("off the table")
    otherwise: str  # meaning for other objects; empty = the name itself


PROPERTIES = Tables(read_table("relations"))
"""What the file says of relations."""
_NOUNS = {"containers": lexicon.CONTAINERS, "surfaces": lexicon.SURFACES, "furniture": lexicon.FURNITURE}
_SAID, _MOTION, _VERBS, _REFUSED, LESS = map(PROPERTIES.entries, ("said", "motion", "verbs", "refused", "less"))
"""Of these `LESS` has the meaning of "not as tall as" → the compared words; it begins with "not" if one is left."""
CORNERS = {tuple(sides.split(", ")): words for sides, words in PROPERTIES.entries("corners").items()}
"""Relations that "the back left corner of" adds → the words before "corner"."""
_REFUSED["like"] += tuple(f"as|so {compared} as" for patterns in LESS.values() for compared in patterns)
_REFUSED |= {f"{word} than": (f"{word} than",) for word in PROPERTIES.patterns("unmeasured")}
_TWO, _FRAMED = PROPERTIES.words("of_two"), PROPERTIES.words("framed")
OWN: Mapping[str, RelationWord] = {
    name: RelationWord(
        name, said, _MOTION.get(name, ()), _VERBS.get(name, ()), 1 + (name in _TWO), name in _FRAMED, name in _SAID
    )
    for name, said in (_SAID | _REFUSED).items()
}
"""The package's own relations by canonical name, including the refused ones."""
FREE = frozenset(name for name, relation in OWN.items() if not relation.supported) - PROPERTIES.words("grammatical")
"""Refused relations that an installed package can supply; the words of the others hold sentences together."""
MEANINGS: Mapping[str, Meanings] = {
    name: Meanings(
        tuple(entry["names"]),
        tuple(entry.get("surfaces", ())),
        frozenset[str]().union(*(_NOUNS[noun] for noun in entry.get("reversed_by", "").split())),
        entry.get("likelier", 0.6),
        entry.get("taken", False),
        entry.get("otherwise", ""),
    )
    for name, entry in PROPERTIES.read["meanings"].items()
}
"""Words with several meanings, by the name that stands for them until the meaning is chosen."""
MEASURED: Mapping[str, str] = PROPERTIES.meanings("measured")
"""Name of a relation with a stated distance ("20 cm away from"); the others take none."""
INVERSE: Mapping[str, str] = PROPERTIES.meanings("inverse")
"""Inverse of a relation: "the box with the cup in it" contains the cup."""

GROUP = "spatial_vlm_ros.relations"
"""Entry-point group: the relation's name, its words joined by "-" → a `Relation`."""

REPAIR = "fix the package, or uninstall it"
"""Repair for most errors of a package."""

_METADATA = (".dist-info", "egg-info")  # ends of folder names: installed, in development, and inside an egg
_Value = TypeVar("_Value")


class PlugIn(NamedTuple):
    """Content of an entry point."""

    name: str
    source: str
    relation: Relation | None  # what was loaded, or None
    error: PlugInError | None = None  # why it cannot be used, or None

    def refused(self, reason: str, repair: str = REPAIR) -> PlugIn:
        """A copy that is refused for a reason."""
        return self._replace(error=PlugInError(self.name, self.source, reason, repair))


class Extended(Mapping[str, _Value]):
    """A table of the package, extended by installed packages: nothing replaces its own entries."""

    def __init__(self, own: Mapping[str, _Value], others: Callable[[], Mapping[str, _Value]]) -> None:
        self._own, self._others = own, others

    def __getitem__(self, name: str) -> _Value:
        return self._own[name] if name in self._own else self._others()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._others()

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._others()

    def __len__(self) -> int:
        return len(self._own) + len(self._others())


def installed() -> list[PlugIn]:
    """The relations of all installed packages, loaded, sorted by name and package."""
    if not _any_installed():
        return []
    from importlib.metadata import entry_points

    try:
        found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    except Exception as error:  # one package's damaged metadata
        return [PlugIn("", "an installed package", None).refused(f"the entry points cannot be read: {_words(error)}")]
    return [_load(entry) for entry in found]


def judged(
    plug_ins: Iterable[PlugIn],
    phrases_of: Callable[[Relation], Iterable[str]],
    taken: Callable[[str], str | None],
) -> list[PlugIn]:
    """Refuse the plug-ins whose words are `taken` (by a meaning, in words), and all that want the same words."""
    found: list[tuple[PlugIn, list[str]]] = []
    wanted: dict[str, list[PlugIn]] = {}
    for plug_in in plug_ins:
        phrases = [] if plug_in.relation is None else sorted(phrases_of(plug_in.relation))
        clash = next(((phrase, taken(phrase)) for phrase in phrases if taken(phrase) is not None), None)
        if clash is not None:
            reason = f"{clash[0]!r} is already {clash[1]}"
            plug_in, phrases = plug_in.refused(reason, "use other words in the package"), []
        found.append((plug_in, phrases))
        for phrase in phrases:
            wanted.setdefault(phrase, []).append(plug_in)
    result = []
    for plug_in, phrases in found:
        rivals = ((phrase, other) for phrase in phrases for other in wanted[phrase] if other is not plug_in)
        for phrase, rival in itertools.islice(rivals, 1):
            reason = f"{phrase!r} is also said for relation {rival.name!r} of {rival.source}"
            plug_in = plug_in.refused(reason, "uninstall one of the two packages")
        result.append(plug_in)
    return result


def _load(entry: EntryPoint) -> PlugIn:
    """Load one plug-in; a failure affects only this relation."""
    name = " ".join(entry.name.replace("_", " ").replace("-", " ").lower().split())
    try:
        package = "an installed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    except Exception:  # a package without its own metadata
        package = "an installed package"
    plug_in = PlugIn(name, f"{package} ({entry.value})", None)
    try:
        relation = entry.load()
    except (Exception, SystemExit) as error:
        return plug_in.refused(f"it cannot be loaded: {_words(error)}")
    if not isinstance(relation, Relation):
        return plug_in.refused(f"its entry point is a {type(relation).__name__}, not a Relation")
    if relation.name.replace("-", " ") != name:
        return plug_in.refused(f"its entry point is named {entry.name!r}, and the relation {relation.name!r}")
    return PlugIn(relation.name, plug_in.source, relation)


def _any_installed() -> bool:
    """True if an installed package may have relations; `importlib.metadata` takes ten times as long to find none."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    group = GROUP.encode()
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                places = [each.path for each in entries if each.name.lower().endswith(_METADATA)]
        except NotADirectoryError:  # an archive
            return True
        except OSError:
            continue
        for place in places:
            try:
                with io.FileIO(f"{place}/entry_points.txt") as file:
                    if group in file.readall():
                        return True
            except OSError:  # it has no entry points
                continue
    return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


_VALUES: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("QTY", "ALONE", "ORD", "ONE"), int), **dict.fromkeys(("DET", "OTHER", "THERE", "VERB"), str),
    **dict.fromkeys(("SUP", "POSITION", "SIDE", "FROM", "PERSON"), lambda name: (name, None)),
    **dict.fromkeys(("PRON", "PRON THATIS", "PRON THATIS NOT"), lambda number: ("object", int(number) or None)),
    **dict.fromkeys(("HALF", "REL"), RelationWords),
    "FRAME": lambda name: (FrameOfReference(name), None),
}  # fmt: skip
"""Kind of a token → how its value is made of the name of words.toml."""


def _add_relations(table: Phrases) -> None:
    for name, meanings in MEANINGS.items():
        table.add("REL", RelationWords(name), meanings.surfaces)
    for meaning, patterns in LESS.items():
        name = meaning.removeprefix("not ")
        for compared in patterns:
            table.add("EQUAL", (name, name != meaning), (f"as|so {compared} as",))
            if name == meaning:
                table.add("REL", RelationWords(name), (f"less {compared} than",))
    table.add("EQUAL", ("other than", False), ("the same one|thing? as",))
    for relation in OWN.values():
        _add_relation(table, relation)
    for sides, words in CORNERS.items():
        ways = (f"at|in|into|to|on|onto|by|near the? {word} corner of" for word in words)
        table.add("REL", RelationWords("at the corner of", also=sides), ways)
        if len(sides) > 1:  # "far left" is only left
            beside = tuple(f"at|in|on the {word} side|part?".replace("|far", "") for word in words)
            table.add("REL", RelationWords(sides[0], also=sides[1:]), (f"{way} of" for way in beside))
            back, left = (lexicon.SUPERLATIVE_OF_SIDE[side] for side in sides)
            table.add("SIDE", (back, None, left), beside)


def _add_relation(table: Phrases, relation: RelationWord) -> None:
    words = RelationWords(relation.name)
    table.add("REL", words, relation.surfaces)
    table.add("REL", RelationWords(relation.name, motion=True), relation.motion)
    for verb in relation.verbs:
        table.add("THATIS REL", words, (f"that|which|who {verb}",))
        table.add(
            "THATIS NOT REL", words, (f"that|which|who does|do not {verb}", f"that|which|who doesn't|don't {verb}")
        )
        first, *rest = verb.split()
        if first in lexicon.patterns_of("stated_verbs"):
            table.add("IS REL", words, (" ".join((first.split("|")[0], *rest)),))
        table.add("IS NOT REL", words, (f"does|do not {verb}", f"doesn't|don't|doesnt {verb}"))


def _add_framed(table: Phrases) -> None:
    """Add the phrases that name a viewpoint by its viewer ("nearest to me", "from my left")."""
    framed = WORDS.under("framed")
    for frame in map(FrameOfReference, WORDS.read["viewers"]):
        viewers, possessors = (WORDS.under(whose).patterns(frame.value) for whose in ("viewers", "possessors"))
        persons = [word for word in viewers if word in lexicon.PERSONS]
        images = ("|".join(WORDS.patterns("images")),) if frame is FrameOfReference.VIEWER else ()
        said = {"{possessor}": possessors, "{viewer}": ("|".join(viewers),), "{person}": persons, "{image}": images}
        for kind in framed.read:
            for name, patterns in framed.entries(kind).items():
                value = RelationWords(name, frame) if kind == "REL" else (name, frame)
                for pattern, (slot, words) in itertools.product(patterns, said.items()):
                    table.add(kind, value, (pattern.replace(slot, word) for word in words if slot in pattern))
        for owner, view in itertools.product(possessors, lexicon.VIEW_NOUNS):
            table.add("FRAME", (frame, None), (f"as? seen|viewed|looking? from|in {owner} {view}",))


def _add_nominals(table: Phrases) -> None:
    for superlative, words in lexicon.VALUES.entries("SUP").items():
        compared = "|".join(word for word in words if word.endswith("er") and word not in ("upper", "center"))
        if compared:
            ways = (f"{compared} than all? the others|rest", f"{compared} than all others")
            table.add("SIDE", (superlative, None), ways)
    colours = lexicon.BASE_COLOURS
    shades = [(shade, colour) for shade in WORDS.words("shades") for colour in colours if shade != colour]
    for shade, colour in shades:
        table.add("ADJ", f"{shade} {colour}", (f"{shade} {colour}",))
    describing = WORDS.words("describing_nouns")
    for word in (colours | WORDS.words("attributes")) - describing:
        table.add("ADJ", word, (word.replace("-", " "),))
    for word, colour in WORDS.meanings("variants").items():
        table.add("ADJ", colour, (word,))
    for word in describing:
        table.add("ADJNOUN", word, (word,))
    for colour in colours | lexicon.NOUN_COLOURS | {"light"}:
        table.add("ADJ", colour, (f"{colour} coloured|colored|colour|color|ish|tinted",))
    table.add("ADJ", "multicoloured", ("multi coloured|colored|colour|color",))
    for word, count in lexicon.NUMBERS.items():
        table.add("NUM", count, (word,))
    for word, count in lexicon.ORDINALS.items():
        table.add("ORD", count, (word,))
        if 1 < count <= 10:
            table.add("ORD", -count, (f"{word} to|from the? last", f"{word} last"))


def _add_kinds(table: Phrases) -> None:
    """Add what words.toml and lexicon.toml list by kind."""
    for kind in lexicon.VALUES.read:
        for name, patterns in lexicon.VALUES.entries(kind).items():
            table.add(kind, _VALUES[kind](name), patterns)
    for kind, patterns in WORDS.entries("kinds").items():
        table.add(kind, None, patterns)
    for action, patterns in lexicon.ACTIONS.items():
        table.add("VERB", action, patterns)
        table.add("GERUND", action, map(lexicon.gerund, patterns))
    table.add("VERB", "give", lexicon.WISHES)
    for name in ("forbid", "forbid_gerund", "untouched", "goes", "polite"):
        table.add(name.upper(), None, lexicon.patterns_of(name))
    table.add("PLEASANTRY", None, lexicon.PLEASANTRIES)


class Plugged(NamedTuple):
    """Relations of installed packages, by canonical name."""

    relations: Mapping[str, tuple[Relation, str]]  # usable ones, each with its package and entry point in words
    words: Mapping[str, RelationWord]  # how they are said; unusable ones are refused words if they are known
    errors: Mapping[str, PlugInError]


def _words_of(name: str, relation: Relation | None, supported: bool) -> RelationWord:
    """The table entry for another package's relation; a relation that is refused here gets its words here."""
    if relation is None:
        return RelationWord(name, (name,), supported=False)
    surfaces = (name, *relation.surfaces, *(OWN[name].surfaces if name in FREE else ()))
    return RelationWord(name, surfaces, (), relation.verbs, relation.anchors, relation.framed, supported)


def _phrases(words: RelationWord) -> Phrases:
    table = Phrases()
    _add_relation(table, words)
    return table.whole()


def _meaning(phrase: str, kinds: Kinds) -> str | None:
    """Meaning of a phrase in the package's own tables; None if it has none, or is a refused relation."""
    if phrase in MEANINGS:
        return "said for a relation"
    for value in kinds.values():
        if not isinstance(value, RelationWords):
            return "a word of the grammar"
        if value.name not in FREE:
            return f"said for the relation {value.name!r}"
    return None


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[Phrases, Plugged]:
    """All phrases, and the relations that installed packages added."""
    phrases = Phrases()
    for add in (_add_nominals, _add_relations, _add_framed, _add_kinds):
        add(phrases)
    found = judged(
        installed(),
        lambda relation: _phrases(_words_of(relation.name, relation, True)),
        lambda phrase: _meaning(phrase, phrases.get(phrase, {})),
    )
    usable = ((each.relation, each.source) for each in found if each.error is None)
    relations = {relation.name: (relation, source) for relation, source in usable if relation is not None}
    words = {name: _words_of(name, relation, True) for name, (relation, _) in relations.items()}
    for of_one in words.values():
        for phrase, kinds in _phrases(of_one).items():
            phrases[phrase] = kinds
    errors: dict[str, PlugInError] = {}
    for each in found:
        if each.error is None:
            continue
        logging.getLogger(__name__).warning("%s", each.error)
        errors[each.name] = each.error
        if each.name and each.name not in OWN and each.name not in words:  # refused by name, and by this error
            words[each.name] = _words_of(each.name, each.relation, False)
            for phrase, kinds in _phrases(words[each.name]).items():
                if phrases.get(phrase) is None:
                    phrases[phrase] = kinds
    return phrases, Plugged(relations, words, errors)


def plugged() -> Plugged:
    """Load the relations of installed packages."""
    return _vocabulary()[1]


def phrase_table() -> Phrases:
    """All phrases with their possible kinds; `tagging` selects one of these by the neighbouring words."""
    return _vocabulary()[0]


RELATIONS: Mapping[str, RelationWord] = Extended(
    {name: relation for name, relation in OWN.items() if relation.supported},
    cache(lambda: {**{name: OWN[name] for name in OWN if not OWN[name].supported}, **plugged().words}),
)
"""All relations by canonical name; an installed package may add some, and supply a refused one."""


@cache
def is_framed(name: str) -> bool:
    """True if the relation or word of this name depends on a frame of reference."""
    meant = MEANINGS[name].names[0] if name in MEANINGS else name
    return meant in RELATIONS and RELATIONS[meant].framed


@cache
def takes_two(name: str) -> bool:
    """True if a relation needs two anchors ("between")."""
    return name in RELATIONS and RELATIONS[name].anchors == 2
