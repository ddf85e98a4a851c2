# SPDX-License-Identifier: Apache-2.0
"""Account for every word of a rewritten sentence: where the parts of the rewrite come from, and what was left out.

Only the sentence and the package's own tables are used, so that whoever wrote the rewrite cannot support a change: an
act, an object, a side, a number or a negation without a source in the sentence, or one that was left out, refuses it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import distances, lexicon, parser, revising, spoken, vocabulary
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.steps import act_of_words
from spatial_vlm_ros.language.words import SLIP, Lookahead, Token, WordRole, singular, split
from spatial_vlm_ros.types import AccountedWord, FrameOfReference, SpatialQuery
from spatial_vlm_ros.types.query import WordAccount

_EMPTY = lexicon.words_of("empty")
_GUARDS = lexicon.words_of("guards")
_LANDING = lexicon.words_of("put_down") | lexicon.words_of("landing")
_WHOSE = {"my": FrameOfReference.SPEAKER, "your": FrameOfReference.ROBOT}
_WORDS_OF = {
    "of": ("part of", "at a distance from"),
    "from": ("at a distance from", "part of"),
    "off": ("part of",),
    "out": ("inside",),
    "not": ("other than",),
    **dict.fromkeys(("nearest", "nearer", "closest", "closer"), ("closest to",)),
}
"""Relations that a rewrite may state for a word that has other meanings, too."""
_REMARKED: dict[str, WordAccount] = {spoken.ASIDE: "left out", spoken.POLITE: "courtesy", SLIP: "slip"}
_HELD = {"containing": ("inside",), "supporting": ("on",)}
"""Relations that a rewrite may turn round: "the jar with the spoon inside" is the jar containing it."""
_ALIKE = {
    "near": ("next to", "closest to"),
    "next to": ("near",),
    "under": ("below",),
    "below": ("under",),
    "on": ("above",),
    "from": ("inside", "on", "off"),
}
"""Relations that a rewrite may state for one another, with a flag."""
_Key = tuple[Any, ...]


class _Source(NamedTuple):
    """Words of the sentence from `first` to before `after`, and what they may mean."""

    first: int
    after: int
    keys: frozenset[_Key]
    heard: str = ""  # the word that a recogniser may have written for another that sounds the same


@dataclass
class Account:
    """What became of the words of a sentence in a rewrite."""

    words: tuple[AccountedWord, ...] = ()  # each word of the sentence, in the order said
    refused: list[str] = field(default_factory=list)  # why the rewrite cannot be accepted, in words; empty if it can
    flags: list[str] = field(default_factory=list)  # what a person should look at before agreeing, in words


def account_of(instruction: str, command: str) -> Account:
    """Account for the words of an instruction that somebody else has rewritten."""
    with contextlib.suppress(NotUnderstoodError):
        own = parser.parse(instruction)
        if {_meaning(query) for query in own} == {_meaning(query) for query in parser.parse(command)}:
            return Account(own[0].account)
    return _Accounting(instruction, command).run()


def _meaning(query: SpatialQuery) -> tuple[SpatialQuery, Any, str]:
    return replace(query, instruction="", readings=1, preference=1.0, account=()), query.question, query.act


def _sound(word: str) -> str:
    """The consonants that are heard in a word: the same for "plain" and "plane"."""
    heard = re.sub(r"^kn", "n", re.sub(r"^wr", "r", word.replace("gh", "").replace("ph", "f").replace("ck", "k")))
    return re.sub(r"(.)\1+", r"\1", re.sub(r"[aeiouwhy]", "", heard)) or word


def _keys(kind: str, value: Any, text: str) -> Iterator[_Key]:
    """What a phrase of the tables may mean."""
    if kind in ("VERB", "GERUND", "THEN VERB"):
        denied = value == lexicon.AVOID or str(value).startswith(lexicon.FORBIDDEN)
        yield from [("not",)] if denied else []
        act = act_of_words(str(value).removeprefix(lexicon.FORBIDDEN), text)
        yield "act", "place" if act in ("move", "put into") else value if str(value).startswith("turn") else act
        yield from [("act", "give")] if value == "give" else []  # "grab me the cup"
        yield from [("leave",)] if text.startswith("leave") else []
    elif kind in SETS.denying_kinds:
        yield ("not",)
    elif kind == "HALF" or kind.split(" ")[-1] == "REL":
        meanings = vocabulary.MEANINGS.get(value.name)
        yield from (("rel", name) for name in (value.name, *(meanings.names if meanings else ()), *value.also))
        yield from [("not",)] if "NOT" in kind or value.name in ("without", "other than") else []
        yield from [("frame", value.frame)] if value.frame else []
        yield from [("rel", vocabulary.MEASURED[value.name])] if value.name in vocabulary.MEASURED else []
    elif kind == "UNTOUCHED":
        yield ("leave",)
    elif kind == "EQUAL":
        yield "rel", value[0]
    elif kind in ("SIDE", "SUP", "POSITION", "FROM_BEFORE", "FROM"):
        yield from ((("from" if kind.startswith("FROM") else "side"), side) for side in (value[0], *value[2:]))
        yield from [("frame", value[1])] if value[1] else []
    elif kind in ("ORD", "PLACED"):
        yield "order", value
    elif kind in ("NUM", "QTY", "ALONE"):
        yield "number", value
    elif kind in ("ADJ", "ADJP", "ADJNOUN"):
        # "largest" for "big" and "large"
        forms = (f"{value}est", f"{value}{value[-1]}est", f"{value}st", f"{value[:-1]}iest") if kind == "ADJ" else ()
        found = (vocabulary.phrase_table().get(form) or {} for form in forms)
        yield "look", next((kinds["SUP"][0] for kinds in found if "SUP" in kinds), value)
    elif kind == "FRAME":
        yield "frame", value[0]
    elif kind in ("OTHER", "PERSON"):
        yield kind, value if kind == "OTHER" else value[0]
    elif kind in ("NOUN", "COMPOUND"):
        yield "noun", singular(text)
    elif kind == "DET" and value == lexicon.ANY:
        yield ("any",)


def _needed(token: Token) -> list[_Key]:
    """What must be in the sentence for a token of the rewrite."""
    if token.kind == "NOUN" and singular(token.text) in (*lexicon.PLACEHOLDERS, lexicon.SURFACE, lexicon.ITSELF):
        return []
    if token.kind in ("NUM", "QTY") and token.value == lexicon.ONE_OF:
        return []
    if token.kind == "OUTSIDE":
        return [("noun", singular(token.text))]
    keys = list(_keys(token.kind, token.value, token.text))
    if token.kind == "VERB" and token.value in (lexicon.AVOID, f"{lexicon.FORBIDDEN}touch"):
        return [("keep off",)]
    if token.kind == "REL" and token.value.distance and token.text in ("to the left", "to the right"):
        frame = [("frame", token.value.frame)] if token.value.frame else []
        return [("shift", token.text.split(" ")[-1]), ("distance", token.value.distance), *frame]
    if token.kind == "REL":
        keys = [("rel", name) for name in (token.value.name, *token.value.also) if name != "to"]
        keys += [("frame", token.value.frame)] if token.value.frame else []
        keys += [("distance", token.value.distance)] if token.value.distance else []
    return keys


class _Accounting:
    def __init__(self, instruction: str, command: str) -> None:
        self.instruction, self.command = instruction, command
        self.words = split(instruction)
        self.seen = Lookahead(list(self.words))
        self.sources = sorted(self._sources(), key=lambda source: source.first - source.after)  # the longest first
        self.likelier = list(self._less_likely())
        acts = [source for source in self.sources for key in source.keys if key[0] == "act"]
        self.ordered = any(
            self.seen.opens(source.after) or self.seen.texts[source.first] in lexicon.PURE_VERBS for source in acts
        )
        self.implied: tuple[Token, ...] = ()  # verbs that a later one includes
        self.having = False  # a relation was turned round: "with the spoon inside" is "containing the spoon"
        self.last = -1  # word that the token before came from
        self.used: dict[int, str] = {}  # word → the words of the rewrite that it became
        self.telling: set[int] = set()  # words used for an object, a look or a relation
        self.several = False  # the rewrite has several verbs
        self.roles: dict[int, WordAccount] = {}
        self.account = Account()

    def run(self) -> Account:
        tokens = list(parser.tokens_of(self.command))
        self._condition()
        verbs = [n for n, token in enumerate(tokens) if token.kind == "VERB"]
        for n, after in pairwise(verbs):  # "take the cup and give it to me" is "give me the cup"
            if (
                "PRON" in [token.kind for token in tokens[after + 1 : after + 2]]
                and tokens[after].value in SETS.carrying
            ):
                self.implied = (*self.implied, tokens[n])
        placed = [(token, self._place(token)) for token in tokens]
        self.several = sum(token.kind == "VERB" for token in tokens) > 1
        self._check_order([(token, source) for token, source in placed if source is not None])
        self._courtesies()
        self._remarks()
        self._taken_back()
        self._contrasts()
        self._left_out()
        self.account.words = tuple(self._accounted())
        return self.account

    def _sources(self) -> Iterator[_Source]:
        texts = self.seen.texts
        related = {n for i in range(len(texts)) for match in self.seen.matches(i) if match.kinds.keys() & SETS.relating
                   and match.length > 1 for n in range(i, match.after)}  # fmt: skip
        for i, text in enumerate(texts):
            if not text:
                continue
            own: set[_Key] = {
                ("noun", singular(form)) for form in (text, text.removesuffix("'s"), text.replace("-", ""))
            }
            own |= {("act", "place")} if text in _LANDING | SETS.letting_go and i not in related else set()
            own |= {("shift", text)} if text in lexicon.SHIFTS else set()
            shifts = text in _WHOSE and not lexicon.SHIFTS.keys().isdisjoint(texts[i + 1 : i + 2])
            own |= {("frame", _WHOSE[text])} if shifts else set()
            own |= {("number", int(text))} if text.isdecimal() else set()
            own |= {("rel", name) for name in _WORDS_OF.get(text, ())} | ({("any",)} if text in SETS.some else set())
            having = texts[i - 1] in (*SETS.having, "got")
            own |= {("rel", "without")} if text == "no" and having else set()
            own |= {("not",)} if text == "nothing" and having else set()
            own |= {("order", int(text[:-2]))} if text[:-2].isdecimal() else set()
            yield _Source(i, i + 1, frozenset(own))
            if text.endswith("'s"):
                yield _Source(i, i, frozenset({("rel", "part of")}))
            after = texts[i + 1] if i + 1 < len(texts) else ""
            if after:
                yield _Source(i, i + 2, frozenset({("noun", singular(text + after))}))  # "tea pot"
            if text == "number" and (after.isdecimal() or after in lexicon.NUMBERS):
                yield _Source(i, i + 2, frozenset({("order", lexicon.NUMBERS.get(after) or int(after))}))
            for match in self.seen.matches(i):
                keys = frozenset(key for kind, value in match.kinds.items() for key in _keys(kind, value, match.text))
                keys |= {("keep off",)} if keys & {("not",), ("leave",)} else set()
                if keys:
                    yield _Source(i, i + match.length, keys)
            said = distances.distance_at(texts, i)
            if said is not None and said.distance is not None:
                yield _Source(i, i + said.length, frozenset({("distance", said.distance)}))

    def _less_likely(self) -> Iterator[_Source]:
        """Wishes, verbs with a particle elsewhere ("turn the lamp on"), words that sound the same; never a negation."""
        receives = not SETS.receiving.isdisjoint(self.seen.texts)
        for i, text in enumerate(self.seen.texts):
            for match in self.seen.matches(i):
                takes = ("act", "take") in _keys("VERB", match.kinds.get("VERB", ""), match.text)
                receiving = receives or match.text in SETS.bringing
                acts = {"give"} if takes and receiving else set()
                acts = {"place", "take"} if match.text in lexicon.WISHED else acts
                yield _Source(i, match.after, frozenset(("act", act) for act in acts), match.text)
            ends = (n for n in range(i + 2, len(self.words)) if not self.seen.opens(n + 1))
            for particle in SETS.particles.intersection(self.seen.texts[n] for n in ends):
                kinds = self.seen.phrases.get(f"{text} {particle}") or {}
                yield _Source(i, i + 1, frozenset(_keys("VERB", kinds.get("VERB", ""), text)), f"{text} … {particle}")
        seen = Lookahead(spoken.misheard(self.words) or [])
        for i in range(len(seen.words)):
            for match in seen.matches(i):
                said = self.seen.texts[i : i + match.length]
                if seen.texts[i : i + match.length] != said:
                    keys = {key for kind, value in match.kinds.items() for key in _keys(kind, value, match.text)}
                    yield _Source(i, i + match.length, frozenset(keys) - {("not",)}, " ".join(said))

    def _place(self, token: Token) -> _Source | None:
        """The words that a token of the rewrite comes from; notes it as added if there are none."""
        found: list[_Source] = []
        for key in _needed(token):
            fits = [source for source in self.sources if key in source.keys]
            if key[0] == "rel" and not fits:
                names = {("rel", name) for name in (*_HELD.get(key[1], ()), *_ALIKE.get(key[1], ()))}
                fits = [source for source in self.sources if not source.keys.isdisjoint(names)]
                self.having = self.having or (bool(fits) and key[1] in _HELD)
                if key[1] in _ALIKE:
                    fits = [s._replace(heard=" ".join(self.seen.texts[s.first : s.after])) for s in fits]
            fresh = [source for source in fits if self.used.keys().isdisjoint(range(source.first, source.after))]
            again = key[0] in ("frame", "act", "distance", "noun")
            fits = fresh or [source for source in fits if again or source in found]
            if not fits:
                fits = [source for source in self.likelier if key in source.keys]
            if not fits and key[0] in ("noun", "look") and isinstance(key[1], str):
                fits = [
                    _Source(n, n + 1, frozenset({key}), text)
                    for n, text in enumerate(self.seen.texts)
                    if text and n not in self.used and _sound(singular(text)) == _sound(key[1])
                ]
            if fits and fits[0].heard:
                self._flag(f"{fits[0].heard!r} is taken for {token.text!r}")
            if not fits and key == ("number", -1) and any(singular(text) != text for text in self.seen.texts):
                continue
            if not fits and key == ("act", "take") and any(token is each for each in self.implied):
                continue
            if not fits and key[0] == "act" and not self.ordered:
                self._flag("no verb was said")
                continue
            if not fits:
                self.account.refused.append(f"it adds {token.text!r}")
                return None
            last, acts = self.last, key[0] == "act"  # of "put in the box" rather "put"
            found.append(
                min(fits, key=lambda s: (s.first < last, abs(s.first - last), acts and self.seen.relating(s.after - 1)))
            )
        for source in found:
            self.last = source.first
            for n in range(source.first, source.after):
                self.used.setdefault(n, token.text)
                self.telling |= set() if token.kind in ("VERB", "QTY") else {n}
        return found[0] if found else None

    def _condition(self) -> None:
        command = split(self.command)
        begin = next((n for n in range(len(self.words)) if revising.without_condition(self.words[n:])[1]), None)
        if begin is not None and revising.without_condition(command)[1]:
            length = len(self.words[begin:]) - len(revising.without_condition(self.words[begin:])[0])
            self.used.update(dict.fromkeys(range(begin, begin + length), self.command.split(" ")[0]))

    def _check_order(self, placed: Sequence[tuple[Token, _Source]]) -> None:
        """Flag objects that changed places: "the cup left of the plate" is not "the plate left of the cup"."""
        nouns = [source.first for token, source in placed if token.kind == "NOUN"]
        related = [source.first for token, source in placed if token.kind == "REL"]

        def apart(first: int, last: int, *words: int) -> bool:
            return any(first < word < last for word in (*nouns, *words))

        for i, (token, source) in enumerate(placed):
            later = next((s.first for t, s in placed[i + 1 :] if t.kind == "NOUN"), None)
            its = (
                next((s.first for t, s in placed[i::-1] if t.kind == "NOUN"), later) if token.kind == "ADJP" else later
            )
            at = source.first
            if token.kind == "REL" and later is not None:
                first, last = (at, later) if ("rel", token.value.name) in source.keys else (later, at)
                if first >= last or apart(first, last):
                    self._flag(f"what {token.text!r} relates to is said elsewhere")
            if (
                token.kind in SETS.describing_kinds
                and its is not None
                and apart(min(at, its), max(at, its), *(related if its < at else ()))
            ):
                self._flag(f"what {token.text!r} describes is said elsewhere")
        begun: list[int] = []  # verbs and relations, without a verb that is repeated
        steps: list[list[int]] = [[]]  # nouns of each
        for token, source in placed:
            if token.kind == "REL" or (token.kind == "VERB" and source.first not in begun):
                begun.append(source.first)
            steps += [[]] if token.kind == "VERB" and steps[-1] else []
            steps[-1] += [source.first] if token.kind == "NOUN" else []
        mixed = any(max(one, default=0) > min(other, default=len(self.words)) for one, other in pairwise(steps))
        if mixed or begun[1:] != sorted(begun[1:]):
            self._flag("its parts are in another order")

    def _flag(self, words: str) -> None:
        if words not in self.account.flags:
            self.account.flags.append(words)

    def _free(self, first: int, after: int) -> bool:
        return not any(n in self.used or n in self.roles for n in range(first, after))

    def _mark(self, first: int, after: int, role: WordAccount) -> None:
        self.roles.update(dict.fromkeys((n for n in range(first, after) if n not in self.used), role))

    def _courtesies(self) -> None:
        for n, word in enumerate(self.words):
            if word.kind != "word":
                self._mark(n, n + 1, "sign")
            elif word.text in lexicon.HESITATIONS or (n and word.text == self.words[n - 1].text):
                self._mark(n, n + 1, "slip")
        for n in range(len(self.words)):
            for match in self.seen.matches(n):
                if match.kinds.keys() & SETS.courtesies and self._free(n, n + match.length):
                    if match.text not in _GUARDS and not match.kinds.keys() & {"SIDE", "POSITION"}:
                        self._mark(n, n + match.length, "courtesy")
                    break

    def _remarks(self) -> None:
        """Mark words around the command that say nothing about it, as the reader itself leaves them out."""
        roles: Sequence[WordRole] = ()
        for kept, others in spoken.plainer(self.words, self.instruction):
            spans = {(word.start, word.end) for word in kept}
            if all((self.words[n].start, self.words[n].end) in spans for n in self.used):
                roles = others
        for n, word in enumerate(self.words):
            role = next((role.role for role in roles if role.start <= word.start < role.end), None)
            if word.kind == "word" and role in _REMARKED:
                self._mark(n, n + 1, _REMARKED[role])

    def _taken_back(self) -> None:
        """Words before a correction mark that something after it replaces ("the white, no, the blue mug")."""
        said = [word.text for word in self.words]
        texts = [word.text if word.kind == "word" else "" for word in self.words]
        for n in range(len(texts)):
            mark = revising.phrase_at("correction_marks", texts, n)
            if not mark or any(i in self.used for i in range(n, n + len(mark))):
                continue
            if not any(i > n for i in self.telling):
                continue
            self._mark(n, n + len(mark), "taken back")
            first, dropped = n, False
            while first and (first - 1 not in self.used or said[first - 1] in said[first:]):
                first -= 1
                if self.roles.get(first) not in ("courtesy", "slip", "sign"):
                    dropped = dropped or (first not in self.used and said[first] not in (*_EMPTY, *said[n:]))
                    self._mark(first, first + 1, "taken back")
            if not dropped:
                self._flag(f"what {' '.join(mark)!r} takes back is kept")

    def _contrasts(self) -> None:
        """Words that only say what is not meant, beside what is ("the blue one, not the red one")."""
        for n, word in enumerate(self.words):
            other = [each.text for each in self.words[n : n + 2]] in (["instead", "of"], ["rather", "than"])
            if not (word.text == "not" or other) or not self._free(n, n + 1 + other) or not self.used:
                continue
            after = n + 1
            while after < len(self.words) and self.words[after].kind == "word" and self.words[after].text != "but":
                after += 1
            told = [m.kinds.keys() for i in range(n + 1, after) if i not in self.used for m in self.seen.matches(i)[:1]]
            weighty = any(each & {"REL", "SIDE", "NUM", "NOT", "FRAME"} for each in told)
            again = next((t for t in self.seen.texts[n + 1 : after] if t not in _EMPTY), "") in self.used.values()
            again = again or self.seen.texts[n + 1 : n + 3] == ["the", "one"]
            if self._free(n, after) and after > n + 1 + other and (other or again or not weighty):
                self._mark(n, after, "contrast")
                if weighty:
                    self._flag(f"left out: {' '.join(self.seen.texts[n:after])}")

    def _left_out(self) -> None:
        """Refuse what must not be left out, and list the other words."""
        for n, word in enumerate(self.words):
            if n in self.used or n in self.roles:
                continue
            empty = word.text in _EMPTY or (self.having and word.text in SETS.having)
            self.roles[n] = "function" if empty else "left out"
            guards = word.text in _GUARDS and not (word.text == "after" and self.several)
            if word.text == "only":  # "only if he comes"
                guards = not SETS.conditional.isdisjoint(self.seen.texts[n + 1 : n + 3])
            if not empty and (guards or word.text[0].isdigit()) and not self._aside(n):
                self.account.refused.append(f"it leaves out {word.text!r}")
        said = [word.text for n, word in enumerate(self.words) if self.roles.get(n) == "left out"]
        if said:
            self._flag(f"left out: {' '.join(said)}")

    def _aside(self, n: int) -> bool:
        """True if a denial or number is in a statement that the rewrite leaves out, or says what a person can't do."""
        texts = self.seen.texts
        joints = [i for i, text in enumerate(texts) if not text or text in SETS.clause_joints]
        first = max((i + 1 for i in joints if i < n), default=0)
        part = range(first, min((i for i in joints if i > n), default=len(texts)))
        if texts[n] in SETS.unable and texts[first:n] in (["i"], ["we"]):
            return True
        wished = {i for i in part for match in self.seen.matches(i) if match.text in lexicon.WISHED}
        acts = any(i not in wished and ("VERB" in self.seen.peek(i) or texts[i] in lexicon.base_forms()) for i in part)
        said = [texts[i] for i in part]
        return not (acts or self.telling.intersection(part) or SETS.conditional.intersection(said)) and (
            spoken.states(said) or not {"i", "we"}.isdisjoint(said)
        )

    def _accounted(self) -> Iterator[AccountedWord]:
        for n, word in enumerate(self.words):
            if n in self.used:
                means = self.used[n]
                yield AccountedWord(word.start, word.end, "read" if word.text in means else "mapped", means)
            elif self.roles[n] != "sign":
                yield AccountedWord(word.start, word.end, self.roles[n])
