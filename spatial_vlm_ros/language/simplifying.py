# SPDX-License-Identifier: Apache-2.0
"""Short rewrites into the word order of the grammar, and the base class of all rewrites.

"Then it should go on the tray" becomes "then put it on the tray", and "bottle number three from the right" becomes
"bottle that is third from the right".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.lexicon import VIEW_NOUNS
from spatial_vlm_ros.language.lookahead import Lookahead
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.wordlists import CONTAINERS, PARTS, SURFACES
from spatial_vlm_ros.language.words import PAIRED, Word

Phrases = Mapping[str, Sequence[tuple[str, ...]]]
"""Phrases as words, longest first, by their first word."""


def phrases_of(*patterns: str) -> Phrases:
    """Expand slot patterns to phrases."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for phrase in {phrase for pattern in patterns for phrase in expand(pattern)}:
        found.setdefault(phrase.split(" ")[0], []).append(tuple(phrase.split(" ")))
    return {first: sorted(each, key=lambda words: (-len(words), words)) for first, each in found.items()}


AFTERWARDS = phrases_of("then", "after that|this", "afterwards", "next", "and then", "finally", "once done")
"""Words that begin a further command."""
_LANDS = phrases_of("goes|belongs", "should|must|shall|will|can|has|needs|is|ought to? go|end|land up?",
                  "should|must|shall|will|can|has|needs|is|ought to? be put|placed|set|moved|left down?")  # fmt: skip
"""Words that say where to put an object that was named before ("…, and then it should go …")."""
_TAKING = frozenset({"pick", "grab", "take", "lift"})
_IS_THERE = phrases_of("it's|its|they're|theyre", "it is", "they are", "it|they should|must|ought to? be")
"""Words that say in a separate sentence where an object is."""
GOAL_VERBS = frozenset({"move", "put", "place", "push", "shift", "slide", "pull", "set"})
_PRONOUNS = frozenset({"it", "it's", "its", "they", "they're", "theyre", "one", "ones"})
_HAS = frozenset({"has", "have", "had", "having", "with"})
_SOMEWHERE = phrases_of("somewhere|right|just|over", "the one|ones")
_THE_ONE = phrases_of("the one|ones")
_MOVED_OPEN = frozenset({"pull", "push", "slide", "swing"})
_OPENED = {"open": "open", "shut": "close", "closed": "close"}
_BEFORE_VERBS = frozenset({"POLITE", "AND", "THEN", "COMMA"})
_STANDS = frozenset({"is", "are", "stands", "sits", "lies"})
_UNDERLAYS = frozenset({"coaster", "saucer", "placemat", "trivet", "doily"})
"""Objects that another object can only have by standing on them ("the mug without a coaster")."""


class Simplifier(Lookahead):
    """Replace words by others; each word keeps its span in the instruction."""

    rewritten = 0

    def _at(self, i: int, phrase: str) -> int:
        """Number of words of a phrase if it is at word `i`, else 0."""
        words = phrase.split(" ")
        return len(words) if self.texts[i : i + len(words)] == words else 0

    def _longest(self, i: int, phrases: Phrases) -> int:
        """Number of words of the longest of several phrases at word `i`, or 0."""
        texts = self.texts
        found = phrases.get(texts[i]) if i < len(texts) else None
        return 0 if found is None else next((len(p) for p in found if tuple(texts[i : i + len(p)]) == p), 0)

    def _put(self, i: int, length: int, *texts: str) -> None:
        """Replace `length` words from `i` on by other words (at least one of each)."""
        self.rewritten += 1
        near = self.words[min(i, len(self.words) - 1)]
        last = self.words[i + length - 1] if length else near
        kinds = {",": "comma"}
        self.words[i : i + length] = [Word(text, near.start, last.end, kinds.get(text, "word")) for text in texts]
        self.reset()

    def _sign(self, i: int, kind: str) -> bool:
        return i < len(self.words) and self.words[i].kind == kind

    def _first(self) -> None:
        """Drop "first" before a further command ("take the mug first, then put it …")."""
        for i in range(2, len(self.words) - 2):
            if self.texts[i] != "first" or self.peek(i - 1) & {"DET", "THATIS", "IS", "NUM", "ORD", "SUP"}:
                continue
            after = i + 1 + (self._sign(i + 1, "comma") or self._sign(i + 1, "stop"))
            if self._longest(after, AFTERWARDS):
                self._put(i, 1)
                return

    def _it_goes(self) -> None:
        """Write "then put it on the tray" for "then it should go on the tray"."""
        for i in range(1, len(self.words) - 2):
            length = self._longest(i + 1, _LANDS) if self.texts[i] in ("it", "they") else 0
            if length and self._sign(i - 1, "stop") and _TAKING.isdisjoint(self.texts[:i]):
                return  # "find the cup. It belongs on the tray"
            if length and self.peek(i - 1) & {"COMMA", "AND", "THEN", "STOP"} and self.relating(i + 1 + length):
                self._put(i, 1 + length, "put", "it" if self.texts[i] == "it" else "them")

    def _it_is(self) -> None:
        """Write "my glasses that are on the sill" for "my glasses? They're on the sill", if nothing else was named."""
        if _PRONOUNS.isdisjoint(self.texts):
            return
        for i in range(2, len(self.words) - 1):
            length = self._longest(i, _IS_THERE)
            if not length and self._sign(i - 1, "comma"):  # "the scalpel, the one in the dish"
                length = self._longest(i, _THE_ONE)
            if self.texts[i + length - 1] == "be" and GOAL_VERBS & set(self.texts[:i]):
                continue  # "move the cup. It should be on the tray"
            said = i + length + self._longest(i + length, _SOMEWHERE)
            after_noun = self._sign(i - 1, "stop") or self._sign(i - 1, "comma") or self.texts[i - 1] not in _HAS
            tells = length and after_noun and self._tells(said + (self.texts[said : said + 1] == ["not"]))
            if tells and not any(self.peek(j) & {"REL", "OF", "AND", "THATIS"} for j in range(i)):
                ended = self._sign(i - 1, "stop") or self._sign(i - 1, "comma")
                self._put(i - ended, said - i + ended, "that", "is" if self.texts[i].startswith("it") else "are")
                return

    def _tells(self, i: int) -> bool:
        """True if a relation is at word `i`, or a describing word at the end."""
        return self.relating(i) or bool(self.peek(i) & {"ADJ", "ADJNOUN"} and self.tail[i + 1])

    def _pulled_open(self) -> None:
        """Write "open the drawer" for "pull the drawer open" and "pull open the drawer"."""
        if _MOVED_OPEN.isdisjoint(self.texts):
            return
        for i in range(len(self.words)):
            if self.texts[i] not in _MOVED_OPEN or (i and not self.peek(i - 1) & _BEFORE_VERBS):
                continue
            state = next((j for j in range(i + 1, len(self.words)) if self.texts[j] in _OPENED), None)
            if state is None:
                continue
            after_noun = state > i + 2 and self.opens(i + 1) and self.tail[state + 1]
            if after_noun or (state == i + 1 and self.peek(state + 1) & {"DET"}):
                verb = _OPENED[self.texts[state]]
                self._put(state, 1)
                self._put(i, 1, verb)
                return

    def _where_it_is(self, i: int) -> None:
        """Write "the shelf with the cereal" for "the shelf where the cereal is"; "where it is" after "leave" goes."""
        where_it_is = self.texts[i + 1 : i + 3] in (["it", "is"], ["they", "are"]) and self.tail[i + 3]
        if where_it_is and "leave" in self.texts:
            self._put(i, 3)
            return
        if not i or self.texts[i - 1] not in SURFACES | CONTAINERS | PARTS or not self.opens(i + 1):
            return
        if GOAL_VERBS & set(self.texts[:i]) and not any(map(self.relating, range(i))):
            return  # "put the box where the cup is"
        for j in range(i + 2, min(i + 8, len(self.words))):
            if self.texts[j] in _STANDS:
                if self.tail[j + 1]:
                    self._put(j, 1)
                    self._put(i, 1, "with")
                return

    def _underlaid(self, i: int) -> None:
        """Write "that is not on a coaster" for "without a coaster"."""
        if self.texts[i] not in ("with", "without") or not self.peek(i + 1) & {"DET"}:
            return
        noun = next((j for j in range(i + 2, min(i + 5, len(self.words))) if self.texts[j] in _UNDERLAYS), 0)
        if noun and not self.nominal(noun + 1) and all("ADJ" in " ".join(self.peek(j)) for j in range(i + 2, noun)):
            self._put(i, 1, "that", "is", *(["not"] if self.texts[i] == "without" else []), "on")

    def _paired(self, i: int) -> None:
        """Write "the nearest scissors" for "the nearest pair of scissors"; "a pair of scissors" is a quantity."""
        if self._at(i + 1, "of") and self.texts[i + 2 : i + 3] and self.texts[i + 2] in PAIRED:
            many_glasses = (
                self.texts[i] == "pairs" and self.texts[i + 2] == "glasses"
            )  # "both glasses" are to drink from
            if i and not many_glasses and not self.peek(i - 1) & {"DET", "VERB", "COMMA"}:
                self._put(i, 3, self.texts[i + 2])

    def _numbered(self, i: int) -> None:
        """Write "the bottle that is third from the right" for "bottle number three from the right"."""
        number = {str(n): word for word, n in lexicon.ORDINALS.items()}
        number |= {word: number[str(n)] for word, n in (lexicon.NUMBERS | {"one": 1}).items()}
        said = self.texts[i + 1] if i + 1 < len(self.words) else ""
        if said not in number or not self.peek(i + 2) & {"FROM"}:
            return
        before = {k for j in range(max(0, i - 5), i) for m in self.matches(j) if j + m.length == i for k in m.kinds}
        if not i or before & {"VERB", "DET", "REL", "POLITE"}:
            article = 1 if i and "DET" in before else 0
            self._put(i, 2, *(() if article else ("the",)), number[said], "one")
        else:
            self._put(i, 2, "that", "is", number[said])


# --------------------------------------------------------------------------------------------------
# Possessives: "to the cup's left" is "left of the cup", "the jar's lid" is "the lid of the jar".
# "From the chair's side" is the chair's own view.

_SIDE_PHRASES = {"left": "left of", "right": "right of", "front": "in front of", "back": "behind", "rear": "behind"}
_OWN_SIDE_PHRASES = {"left": "own left of", "right": "own right of", "front": "own front of", "back": "own back of"}
_NO_OWNERS = frozenset({"that's", "it's", "what's", "which's", "who's", "there's", "where's", "let's", "that", "which"})
_SIDE_WORDS = frozenset({"from", "to", "on", "at", "in", "of"})
_LONGEST_OWNER = 5
_LONGEST_PART = 3
_DESCRIBING = frozenset({"ADJ", "ADJNOUN", "COMPOUND", "SUP", "POSITION"})
_ARTICLES = frozenset({"the", "a", "an", "this", "that", "my", "your"})


def _owner_end(words: list[Word], first: int) -> int | None:
    """Index of the possessive ("cup's") that ends an owner starting at `first`."""
    for i in range(first, min(first + _LONGEST_OWNER, len(words))):
        if words[i].kind != "word":
            return None
        if words[i].text in _NO_OWNERS or (i > first and words[i].text in _SIDE_WORDS):
            return None
        if words[i].text.endswith("'s") and len(words[i].text) > 2:
            return i
    return None


def _known_to_tables(words: list[Word], i: int, end: int) -> bool:
    """True if the tables already contain the phrase from `i` to beyond `end` ("to the robot's left")."""
    phrases, longest = phrase_table()
    texts = (" ".join(word.text for word in words[i:after]) for after in range(end + 2, i + longest + 1))
    return any({"SIDE", "FRAME", "REL"} & phrases.get(text, {}).keys() for text in texts)


def rewrite_possessives(words: list[Word]) -> list[Word]:
    """Rewrite possessive sides into the word order of the other relations.

    Returns:
        The words, with "to the cup's left side" turned into "left of" + "the cup"; positions in the text are kept.
    """
    result: list[Word] = []
    i = 0
    while i < len(words):
        rewritten = None
        if words[i].text in ("to", "on", "at", "from", "in") and i + 1 < len(words) and words[i].kind == "word":
            end = _owner_end(words, i + 1)
            own = end is not None and words[end + 1 : end + 2] != [] and words[end + 1].text == "own"
            bare = end == i + 1 and not own and words[i].text != "from"
            if end is not None and not bare and not _known_to_tables(words, i, end):
                rewritten = _rewrite(words, i, end)
        if rewritten is None and words[i].text in _ARTICLES:
            rewritten = _part(words, i)
        elif rewritten is None and words[i].text.endswith("'s") and result and result[-1].text in phrase_table()[0]:
            rewritten = _clipped_part(words, i, result)
        if rewritten is None:
            result.append(words[i])
            i += 1
        else:
            pieces, i = rewritten
            result.extend(pieces)
    return result


def _names_view(words: list[Word], end: int) -> bool:
    """True if a possessive and what follows is a viewpoint ("the robot's perspective")."""
    following = " ".join(word.text for word in words[end + 1 : end + 4])
    return any(following.startswith(view) for view in VIEW_NOUNS.split("|") if view not in PARTS)


def _clipped_part(words: list[Word], i: int, before: list[Word]) -> tuple[list[Word], int] | None:
    """As `_part` for "red jar's lid" without an article; removes its describing words from the end of `before`."""
    table = phrase_table()[0]
    first = len(before)
    while first and (kinds := table.get(before[first - 1].text, {}).keys()) and kinds <= _DESCRIBING:
        first -= 1
    article = Word("the", words[i].start, words[i].end)
    rewritten = _part([article, *before[first:], *words[i:]], 0)
    if rewritten is None:
        return None
    used = rewritten[1] - 1 - (len(before) - first)
    del before[first:]
    return rewritten[0], i + used


def _part(words: list[Word], i: int) -> tuple[list[Word], int] | None:
    """Rewrite "the cabinet's top drawer" to "the top drawer of the cabinet"; return it and the next index, or None."""
    end = _owner_end(words, i + 1)
    if end is None or words[end + 1 : end + 2] == [] or words[end + 1].text == "own" or _names_view(words, end):
        return None
    table = phrase_table()[0]
    kinds = [table.get(word.text, {}).keys() for word in words[i + 1 : end]]
    if any(each - _DESCRIBING and "ADJ" not in each for each in kinds):
        return None
    for last in range(end + 1, min(end + 1 + _LONGEST_PART, len(words))):
        if words[last].kind != "word":
            return None
        further = words[last + 1].text if last + 1 < len(words) else ""
        if words[last].text in PARTS and further not in PARTS:
            break
    else:
        return None
    if last + 1 < len(words) and words[last + 1].text == "of":
        return None
    owner = Word(words[end].text[:-2], words[end].start, words[end].end)
    article = Word("the", words[i].start, words[i].end)
    of = Word("of", owner.start, owner.end)
    return [article, *words[end + 1 : last + 1], of, *words[i:end], owner], last + 1


def _rewrite(words: list[Word], i: int, end: int) -> tuple[list[Word], int] | None:
    """Rewrite one possessive phrase; return the words and the index after it, or None if it is not one."""
    after = end + 1
    own = after < len(words) and words[after].text == "own"
    after += own
    if after >= len(words):
        return None
    owner = words[end]
    bare = Word(owner.text[:-2], owner.start, owner.end)
    if words[i].text == "from":
        for view in sorted(VIEW_NOUNS.split("|"), key=len, reverse=True):
            length = view.count(" ") + 1
            if " ".join(word.text for word in words[after : after + length]) == view:
                return [Word(f"from {bare.text}'s view", words[i].start, words[after + length - 1].end, "view")], (
                    after + length
                )
        return None
    side = (_OWN_SIDE_PHRASES if own else _SIDE_PHRASES).get(words[after].text)
    if side is None:
        return None
    after += 1
    for extra in ("hand", "side"):
        if after < len(words) and words[after].text == extra:
            after += 1
    if after < len(words) and (words[after].text == "of" or words[after].text in PARTS):
        return None  # "in the fridge's left compartment"
    relation = Word(side, words[i].start, words[i].end)
    return [relation, *words[i + 1 : end], bare], after
