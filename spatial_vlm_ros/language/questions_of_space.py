# SPDX-License-Identifier: Apache-2.0
"""Recognise questions about space, and the phrases that they are about.

A question is a frame of words ("how far is … from …?") around noun phrases and predicates. The frames are the tables at
the end; the grammar of instructions reads what stands in them, so that every word of a question is accounted for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon, refusals, rendering, vocabulary
from spatial_vlm_ros.language import question_slots as tables
from spatial_vlm_ros.language.patterns import SETS, phrase_set
from spatial_vlm_ros.language.question_slots import Frames, Readings, SlotReader, Words, phrase_at
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import NounPhrase, RelationClause, SpaceQuestion, SpatialQuery

_SIGNS = (
    SETS.question_signs
    | tables.BE
    | tables.MODALS
    | tables.CONTRACTED.keys()
    | {"distance", "gap", "number", "any", "anything"}
    | tables.LENGTH_NOUNS
)
"""Words of which every question about space contains one."""
_FIRST = (
    (SETS.question_signs | tables.BE | tables.CONTRACTED.keys() | tables.SPACE | tables.LENGTHS.keys() | {"number"})
    - {"small", "short", "big", "large", "room"}
)  # fmt: skip
"""Words that begin a question, or stand after "the" there."""
_STATEMENTS = ("where'", "what'", "there")  # "there's a cup on the tray. Grab it"
_SEEN = phrase_set("do|can|could you|i|we see|find|count|spot|detect", "there", "you see")
_ADVERBS = phrase_set(*tables.ADVERBS)
_LONGEST = 60  # most words of a question whose subject is searched for
_STRANDED = {**vocabulary.INVERSE, "against": "against"}
"""Relation at the end of "what is the mug on?" → the relation of what is asked for to the mug."""


def read_question(
    words: Words,
    instruction: str,
    read: Callable[[list[Word]], Sequence[SpatialQuery]],
    later: bool = False,
) -> tuple[SpatialQuery, ...] | None:
    """The readings of a question about space, each with its `question`; None for other words."""
    if not any(word.text in _SIGNS or word.text.endswith("'s") for word in words):
        return None
    found = _QuestionReader(words, instruction, read, later).run()
    return None if found is None else ranked(found)


def ranked(readings: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Sort readings, the preferred one first, and scale their preferences to sum to 1."""
    total = sum(reading.preference for reading in readings)
    first = sorted(readings, key=lambda reading: -reading.preference)[:64]
    return tuple(replace(r, readings=len(first), preference=r.preference / total) for r in first)


class _QuestionReader(SlotReader):
    """Find the frame of one sentence. Methods with `**_` build questions of the frames below."""

    def run(self) -> Readings | None:
        """The readings, or None if it is not a question."""
        indirect, words = self._opened(self.stripped())
        if not words:
            return None
        first = words[0].text
        stop = next((i for i, word in enumerate(words) if word.kind == "stop"), None)
        if stop is not None:
            asks = first in tables.CONTRACTED or first in SETS.question_signs or first in tables.BE
            if asks and first not in ("where", "what", "which") and not first.startswith(_STATEMENTS):
                repair = "ask the question alone, and give the order after its answer"
                raise self.refusal(words[stop:], "this follows a question in one sentence", repair)
            return None
        comma = next((i for i, word in enumerate(words) if word.kind == "comma"), len(words))
        if first in ("which", "what") and words[comma + 1 :] and words[comma + 1].text in lexicon.PURE_VERBS:
            return None  # "which can is in the basket, get it out"
        if (
            first == "anything" and not self.later and words[1:2] and words[1].text not in ("but", "except")
        ):  # "anything left in the box?"
            words = [*self.written(words[0], "is", "there"), *words]
        second = words[1].text if len(words) > 1 else ""
        if second.endswith("'s") and (first == "how" or (first, second) == ("which", "one's")):  # "how far's the cup?"
            words = [words[0], *self.written(words[1], second[:-2], "is"), *words[2:]]
        if first in tables.CONTRACTED:
            words = [*self.written(words[0], *tables.CONTRACTED[first]), *words[1:]]
        return self._by_first_word(words, indirect)

    def _opened(self, words: Words) -> tuple[bool, Words]:
        """True if the question is indirect, and its words without those before it."""
        indirect, i = False, 0
        while i < len(words):
            if words[i].kind == "comma":
                i += 1
                continue
            length = phrase_at(words, i, tables.INDIRECT)
            asked = [word.text for word in words[i + length : i + length + 2]]
            if length and not _FIRST.isdisjoint(asked[asked[:1] == ["the"] :][:1]):
                indirect, i = True, i + length
                continue
            length = phrase_at(words, i, tables.OPENINGS)
            denied = words[i].text == "no" and words[i + 1 : i + 2] and words[i + 1].kind != "comma"
            if not length or i + length >= len(words) or denied:  # "no where is the spoon"
                break
            i += length
        words = words[i:]
        comma = next((i for i, word in enumerate(words) if word.kind == "comma"), 0)
        asks = comma and words[comma + 1 :] and words[comma + 1].text in SETS.question_signs | tables.BE
        if asks and self.relation_at(words):  # "on the tray, what is there"
            words = [*words[comma + 1 :], *words[:comma]]
        return indirect, self.view_last(words)

    def _by_first_word(self, words: Words, indirect: bool) -> Readings | None:
        texts = [word.text for word in words]
        first, second = [*texts, ""][:2]
        politely = phrase_at(words, 0, tables.POSSIBLY)
        if politely and len(texts) > politely and (first != "is" or texts[politely] not in tables.PUTTING):
            return None  # "would it be possible to get the scissors"
        if first in ("if", "whether") and indirect:
            if second == "you" and not tables.SEEING & set(texts[2:5]):
                return None  # "I wonder if you could get the mug" is no question
            return self._declared(words[1:])
        if first in tables.BE:
            return self._whether(words)
        if first == "where" and {"have", "has"} & set(texts[1:4]):
            return None  # "where have you put the cup?"
        if first in SETS.question_signs or (first in tables.MODALS and len(words) > 2 and second != "you"):
            return self.framed(_ASKED, words)
        if first == "any" and self.marked and len(words) > 1:
            return self.exists([words[0], *words])
        measured = texts[first == "the" :]
        if measured and (indirect or (measured[0] in ("distance", "gap", "number") and len(measured) > 2)):
            return self.framed(_QUANTITIES, words)
        if self.marked and first in tables.ARTICLES and (tables.BE | tables.ARE_NOT) & set(texts):
            try:
                return self._declared(words)
            except NotUnderstoodError:
                return None
        return None

    def _denied(self, words: Words) -> Words:
        """The words with "is not" for "isn't"."""
        return [each for w in words for each in (self.written(w, "are", "not") if w.text in tables.ARE_NOT else [w])]

    def count(self, n: Words, **_: Words) -> Readings:
        kept = self.without(self._denied(n), _SEEN)
        self.check_one_question(kept)
        kept = kept[:-1] if len(kept) > 1 and kept[-1].text in tables.BE else kept
        be = next((i for i, word in enumerate(kept) if i and word.text in tables.BE), 0)
        held = next((i for i, word in enumerate(kept) if i and word.text in tables.HOLDING), 0)
        if held and not be:  # "how many bowls hold an apple?"
            verb = self.written(kept[held], "that", tables.HOLDING[kept[held].text])
            kept = [*kept[:held], *verb, *kept[held + 1 :]]
        if be and kept[be + 1 :] and kept[be + 1].text in ("that", "which"):  # "how many cups are there that are red?"
            kept, be = [*kept[:be], *kept[be + 1 :]], 0
        if be > 1 and any(self.relation_at(kept[i:]) and kept[i].text != "of" for i in range(1, be)):
            readings = self._described(kept[:be], kept[be + 1 :])
        elif be and kept[be - 1].text not in ("that", "which"):
            readings = self.read([*self.written(kept[0], "which"), *kept])
        else:
            kept = kept[1:] if kept and kept[0].text == "of" else kept
            determined = not kept or kept[0].text in ("the", "all", "my")
            readings = self.noun([*([] if determined else self.written(kept[0], "the")), *kept])
        readings = self.only(readings, "find", n)
        return self.made(
            [replace(r, target=replace(r.target, count=-1, choice=None)) for r in readings], "count", "count"
        )

    def _described(self, x: Words, predicate: Words) -> Readings:
        """Read "vials in the box" and "empty" as "the vials in the box that are empty"."""
        x = x[x[0].text == "of" :]
        determined = x[0].text in ("the", "all", "my", "these", "those")
        subjects = self.noun([*([] if determined else self.written(x[0], "the")), *x])
        return [
            replace(subject, target=rendering.merged(subject.target, question.asked))
            for subject, question in itertools.product(subjects, self.predicate(predicate))
            if question.asked is not None
        ]

    def where(self, x: Words, y: Words = (), r: Words = (), **_: Words) -> Readings | None:
        if r and not self.relation_at(r):
            return None
        other = self.noun(y)[0].target if y else None
        slot = self.without_tail([*x, *r], ("located", "placed", "standing", "lying", "at", "kept", "found", "now"))
        return self.made(self.noun(slot), "find", "where", other=other)

    def which(self, words: Words, z: Words = (), n: Words = (), has: Words = (), **_: Words) -> Readings | None:
        if n and n[-1].text in ("that", "which"):
            return None
        asked = [*n, *self.written(has[0], "that"), *has, *z] if has else z
        be = next((i for i, word in enumerate(asked) if i > 1 and word.text in tables.BE), 0)
        related = any(self.relation_at(asked[i:]) and asked[i].text != "of" for i in range(1, be))
        if related and asked[be + 1 :] and asked[be - 1].text not in ("that", "which"):
            return self._listed(self._described(asked[:be], asked[be + 1 :]), words)
        asker = "what" if asked and asked[0].text in tables.BE else "which"
        return self._listed(self.read([*self.written(words[0], asker), *asked]), words)

    def _listed(self, readings: Readings, words: Words) -> Readings:
        return self.made(self.only(readings, "find", words), "find", "which")

    def which_lies(self, words: Words, z: Words, **_: Words) -> Readings | None:
        return self.which(words, [*self.written(words[1], "is"), *z])

    def everything(self, words: Words, k: Words = (), **_: Words) -> Readings:
        kind = k or self.written(words[0], "objects")
        return self._listed(self.noun([*self.written(words[0], "all"), *kind]), words)

    def side(self, words: Words, x: Words, y: Words, **_: Words) -> Readings:
        subject = self.noun(x)
        sides = [self.predicate([*self.written(words[1], *side), *y])[0].asked for side in tables.SIDES_OF]
        return self.made(subject, "verify", "whether", choices=tuple(side for side in sides if side is not None))

    def stranded(self, words: Words, k: Words, be: Words, x: Words, r: Words, **_: Words) -> Readings | None:
        kinds = vocabulary.phrase_table().get(" ".join(word.text for word in r), {})
        inverse = _STRANDED.get(kinds["REL"].name) if "REL" in kinds else None
        if inverse is None:
            return None
        subject = self.without_tail(x, ("standing", "lying", "sitting", "resting", "placed", "put"))
        heads = self.noun([*self.written(words[1], "the"), *(k or self.written(be[0], "object"))])
        found = [
            replace(head, target=replace(
                head.target, relations=(*head.target.relations, RelationClause(inverse, (anchor,)))))
            for head, anchor in self.crossed(heads, self.noun(subject))
        ]  # fmt: skip
        return self._listed(found, words)

    def alternatives(self, words: Words, **_: Words) -> Readings:
        words = [word for word in words if word.text != "either"]
        ors = [word for word in words if word.text == "or"]
        found = self.framed(_CHOICES, words, tries=True) if len(ors) == 1 else None
        if found is None:
            repair = 'ask "which is taller, the mug or the bowl?", or "is the mug left of or right of the box?"'
            raise self.refusal(ors[:1], "a choice between these is not supported", repair)
        return found

    def better(
        self, superlative: Words, x: Words, y: Words, z: Words = (), k: Words = (), **_: Words
    ) -> Readings | None:
        if k:  # "which bottle is fuller, the one by the bag or the one on the bench?"
            x, y = ([each for word in said for each in (k if word.text == "one" else [word])] for said in (x, y))
        key = tables.SUPERLATIVE_OF[superlative[0].text]
        if (z and key not in lexicon.NEARNESS) or any(word.text == "than" or word.kind == "comma" for word in (*z, *x)):
            return None
        viewer = tables.VIEWERS.get(tuple(word.text for word in z))
        one, other = self.noun(x), self.noun(y)
        about = self.noun(z)[0].target if z and viewer is None else None
        key = f"{key} {viewer.value}" if viewer is not None else lexicon.NEARNESS[key] if z else key
        return [
            each for reading, rival in self.crossed(one, other) for each in
            self.made([reading], "find", "which", choices=(reading.target, rival), superlative=key, other=about)
        ]  # fmt: skip

    def either(self, x: Words, p: Words, q: Words, t: Words = (), **_: Words) -> Readings | None:
        subject, first, second = self.noun(x), *(self.predicate([*said, *t])[0].asked for said in (p, q))
        if first is None or second is None or (subject[0].target.category == "object" and subject[0].target.relations):
            return None
        if not first.relations and (t or not first.attributes):
            return None
        if any(clause.distance is not None for said in (first, second) for clause in said.relations):
            return None
        return self.made(subject, "verify", "whether", choices=(first, second))

    def distance(self, d: Words, start: Words = (), **_: Words) -> Readings | None:
        for near, far in itertools.pairwise(self.words):
            if near.text in tables.FARTHEST and far.text in ("together", "apart"):
                repair = 'name the two: "the distance between the cup and the plate"'
                raise self.refusal((near, far), "distances of pairs of objects cannot be compared", repair)
        d = [*start, *d]
        first = d[0].text if d else ""
        be = next((i for i, word in enumerate(d) if word.text in tables.BE), 0)
        if be and first == "from":  # "from the box is the mug"
            d = [*d[be + 1 :], *d[:be]]
        elif be and first not in ("between", "of"):
            along = self.along(d[be + 1 :], d[:be])
            if along:
                return along
            d = [*d[:be], *d[be + 1 :]]
        d = d[1:] if d and d[0].text in (*tables.BE, "of") else d
        texts = [word.text for word in d]
        between = texts[1:2] == ["between"] or (texts[1:2] == ["from"] and "to" in texts)
        d = d[1:] if texts[:1] in (["it"], ["there"]) and between else d
        if d and d[0].text == "to" and "from" not in texts:  # "the distance to the cup"
            return self._alone(d[1:], together=False)
        d = d[1:] if d and d[0].text in ("from", "between") else d
        d = self.without_tail(d, (*tables.AWAY, *tables.BE, "be"))
        if [word.text for word in d[:2]] == ["it", "to"] and not self.later:  # "how far is it to the cup?"
            return self._alone(d[2:], together=False)
        together = any(word.text in ("apart", "together", "between") for word in self.words)
        for phrase in tables.EACH_OTHER:
            if len(d) > len(phrase) and tuple(word.text for word in d[-len(phrase) :]) == phrase:
                d, together = d[: -len(phrase)], True
        return self.framed(_DISTANCES, d, tries=True) or self._alone(d, together)

    def apart(self, words: Words, x: Words, y: Words, by: Words = (), **_: Words) -> Readings | None:
        from_here = tables.VIEWERS.get(tuple(word.text for word in x)) if by and by[0].text == "to" else None
        if from_here is not None:  # "from here to the cup"
            return self.made(self.noun(y), "measure", "distance", frame=from_here)
        if not by and any(word.text == "from" for word in words):
            return None  # "the mug from the box and the bowl" is not a distance between two objects
        first, viewer = self.noun(x), tables.VIEWERS.get(tuple(word.text for word in y))
        if viewer is not None:
            return self.made(first, "measure", "distance", frame=viewer)
        return self.compared(first, self.noun(y), "distance")

    def along(self, x: Words, r: Words, **_: Words) -> Readings | None:
        """Read "the mug" and "left of the box"; None if that is no relation along which a gap can be measured."""
        try:
            asked = [question.asked for question in self.predicate(r)]
        except NotUnderstoodError:
            return None
        clauses = [a.relations[0] for a in asked if a is not None and len(a.relations) == 1]
        along = [c for c in clauses if c.relation in SETS.metric and c.distance is None and len(c.anchors) == 1]
        if not along:
            return None
        return [
            each for r_, to in itertools.product(self.noun(x), along) for each in
            self.made([r_], "measure", "distance", other=to.anchors[0], relation=to.relation, frame=to.frame)
        ]  # fmt: skip

    def _alone(self, words: Words, together: bool) -> Readings:
        """Read a distance between several objects of a kind, or from the viewer."""
        readings = self.noun(words)
        several = readings[0].target.count not in (None, 1)
        counted = readings[0].target.ordinal is not None
        if (together and not several) or (any(word.text == "from" for word in words) and not counted):
            raise self.unfinished(words)
        return self.made(readings, "measure", "distance", apart=several and together)

    def size(self, lengths: Words, x: Words, y: Words = (), **_: Words) -> Readings | None:
        z = [*x, *y]
        above = self.framed(_DISTANCES[-1:], z, tries=True) if lengths[0].text in ("high", "height") else None
        return above or self.made(self.noun(z), "measure", "size", length=tables.LENGTHS[lengths[0].text])

    def longer(self, comparatives: Words, x: Words, y: Words, **_: Words) -> Readings:
        which = tables.COMPARATIVES[comparatives[0].text]
        return self.compared(self.noun(x), self.noun(y), "size", length=which)

    def space(self, words: Words, d: Words = (), **_: Words) -> Readings | None:
        if any(word.text == "between" for word in d):
            return self.distance(d)
        repair = 'ask "is there room for the cup on the tray?", or "how far is the cup from the edge?"'
        raise self.refusal(words[:3], "free space cannot be given as a number", repair)

    def unmeasured(self, unmeasured: Words, **_: Words) -> Readings:
        repair = "ask where objects are, how many, how far from each other, or how big"
        raise self.refusal(unmeasured, "this cannot be measured", repair)

    def owned(self, x: Words, lengths: Words = (), y: Words = (), **_: Words) -> Readings | None:
        owner = x[-1]
        if not owner.text.endswith("'s"):
            return None
        noun = [*self.written(x[0], "the"), *x[:-1], Word(owner.text[:-2], owner.start, owner.end)]
        return self.distance([*noun, *y]) if y else self.size(lengths, noun)

    def placed(self, x: Words, y: Words = (), **_: Words) -> Readings:
        """Read the room for "the box on the tray"; it is on the table if no place is said."""
        x = self.without_tail([*x, *y], ("there", "to", "fit", "left"))
        if not x:
            raise self.unfinished(self.words)
        put = self.written(x[0], "put")
        try:
            readings = self.read([*put, *x])
        except NotUnderstoodError as error:
            if "place" not in error.reason:
                raise
            readings = self.read([*put, *x, *self.written(x[-1], "on", "the", "table")])
        readings = [r for r in readings if r.action == "place" and r.destination is not None and not r.steps]
        if not readings:
            raise self.unfinished(x)
        if readings[0].target.count not in (None, 1):
            repair = 'ask "is there room for the cup on the tray?"'
            raise self.refusal(x, "room can be checked for only one object at a time", repair)
        if x[0].text in ("a", "an", "another", "some"):
            readings = [replace(r, target=replace(r.target, choice="any")) for r in readings]
        return self.made(readings, "verify", "room")

    def enough(self, x: Words, y: Words, **_: Words) -> Readings:
        """Read "the tray" and "the box" of "is the tray big enough for the box?"."""
        return self.placed(y, [*self.written(x[0], "on"), *x])

    def unplaced(self, words: Words, **_: Words) -> Readings:
        repair = 'name the object: "is there room for the cup on the tray?"'
        raise self.refusal(words[2:], "this does not say which object needs room", repair)

    def _whether(self, words: Words) -> Readings | None:
        rest = words[1:] if len(words) > 1 and words[1].text == "there" else self.without(words[1:], _ADVERBS)
        if not rest:
            raise self.unfinished(words)
        return self.framed(_WHETHER, [words[0], *rest])

    def exists(self, words: Words, **_: Words) -> Readings:
        be, x = words[:1], words[2 if words[1].text == "there" else 1 :]
        exactly = bool(x) and x[0].text in ("only", "exactly", "just")
        rest = x[1:] if exactly else self.without(x, _ADVERBS)
        readings = self.only(self.read([*self.written(be[0], "is", "there"), *rest]), "verify", [*be, *rest])
        if rest and rest[0].text == "another" and not self.later:  # besides the one already mentioned
            readings = [replace(r, target=replace(r.target, count=2, choice=None)) for r in readings]
        return self.made(readings, "verify", "exists", exactly=exactly)

    def _declared(self, words: Words) -> Readings:
        """Read the statement after "whether": "the mug is behind the box", "the box fits on the tray"."""
        there = words and words[0].text == "there's"
        said = [*self.written(words[0], "there", "is"), *words[1:]] if there else self._denied(words)
        found = self.framed(_DECLARED, said)
        if found is None:
            raise self.unfinished(words)
        return found

    def stated(self, x: Words, be: Words, z: Words, **_: Words) -> Readings | None:
        return None if x[-1].text in ("that", "which", "who") else self._whether([*be, *x, *z])

    def verb(self, x: Words, verb: Words, y: Words, modals: Words = (), **_: Words) -> Readings | None:
        said, asks = verb[0].text, not modals or modals[0].text in ("do", "does")
        if modals and x[0].text in ("not", "never", "under", "i", "we", "one"):
            return None  # "do not touch the cup" is no question
        if x[-1].text in ("that", "which", "who"):
            return None  # "don't touch the cup that holds a spoon"
        if said in tables.FITTING or (said in tables.STANDING and not asks):
            return self.placed(x, y)
        if said in tables.STANDS and asks:
            return self.split([*x, *y], verb)
        return self._held(x, verb[0], y) if said in tables.HOLDING and asks else None

    def _held(self, x: Words, verb: Word, y: Words) -> Readings:
        """Read "the bowl contain an apple"."""
        found: Readings = []
        for subject in self.noun(x):
            said = len(subject.target.relations)
            for whole in self.noun([*x, *self.written(verb, "that", tables.HOLDING[verb.text]), *y]):
                if len(whole.target.relations) > said:
                    asked = NounPhrase("object", relations=whole.target.relations[said:])
                    found += self.made([whole], "verify", "whether", asked=asked)
        if not found:
            raise self.unfinished([*x, verb, *y])
        return found

    def split(self, x: Words, be: Words, **_: Words) -> Readings:
        """Try every split of the words into a subject and what is asked about it."""
        self.check_one_question(x)
        found: Readings = []
        share = 1.0
        for i in range(1, len(x) if len(x) <= _LONGEST else 0):
            if not self.begins_predicate(x, i):
                continue
            try:
                asked = self.predicate(x[i:])
                pairs = list(itertools.product(self.noun(x[:i])[:4], asked[:8]))
            except NotUnderstoodError:
                pairs = []
            self._check_number(x[:i], pairs)
            for subject, question in pairs:
                target = subject.target if question.asked is None else rendering.merged(subject.target, question.asked)
                preference = share * subject.preference / len(pairs)
                if (
                    question.asked is not None
                    and len(question.asked.relations) > 1
                    and not any(word.text in ("and", "but", "nor") for word in x[i:])
                ):
                    preference *= 0.3  # "behind the box left of the bowl" without "and"
                query = replace(subject, target=target, preference=preference)
                found.append(replace(query, instruction=self.instruction, action="verify", question=question))
            share *= 0.4 if pairs else 1.0
            described = [q.asked for _, q in pairs if q.asked is not None and not q.asked.relations]
            if described and described[0].attributes and found:  # "is the cup on the tray red?"
                found = [
                    q if i_ >= len(found) - len(pairs) else replace(q, preference=0.1 * q.preference)
                    for i_, q in enumerate(found)
                ]
        if not found:
            for r in self.only(self.read([*self.written(be[0], "is"), *x]), "verify", x):
                asked_of_it = replace(r.target, category="object", count=None, choice=None)
                found += self.made([r], "verify", "whether", asked=asked_of_it)
        return found

    def _check_number(self, subject: Words, pairs: Sequence[tuple[SpatialQuery, SpaceQuestion]]) -> None:
        """Refuse "is the cup 5 left of the box", where 5 may be a length; but "cup 5" is a name."""
        last = subject[-1]
        if subject[0].text not in lexicon.DETERMINERS or not (last.text.isdecimal() or last.text in lexicon.NUMBERS):
            return
        asked = [clause.relation for _, question in pairs if question.asked for clause in question.asked.relations[:1]]
        if any(relation in vocabulary.MEASURED for relation in asked):
            raise refusals.refused(self.instruction, "UNITLESS", last)


_COMMA = ",|;|:|-|–|—"
_BEST = "which|what COMPARED_ONES? BE? the? superlative=SUPERLATIVE_OF one?"
_THE = "ARTICLES? exact|approximate|rough|total|overall|shortest*"
_PLACES: Frames = (
    ("BE X RELATED Y", _QuestionReader.where),
    ("X BE RELATED Y", _QuestionReader.where),
    ("X RELATED Y", _QuestionReader.where),
    ("BE X", _QuestionReader.where),
    ("X BE", _QuestionReader.where),
    ("R BE X", _QuestionReader.where),
    ("can|could|do i|we|you look for X", _QuestionReader.where),
    ("can|could|do|would|did i|you|we find|see|get|look X", _QuestionReader.where),
    ("did i|you|we put|leave|place|set X", _QuestionReader.where),
    ("X", _QuestionReader.where),
)
"""What follows "where"."""
_WHETHER: Frames = (
    ("BE it possible to PUTTING X?", _QuestionReader.placed),
    ("BE there FREE* ROOM LEFT_OVER* for X", _QuestionReader.placed),
    ("BE there FREE* ROOM LEFT_OVER* Y for X", _QuestionReader.placed),
    ("BE there FREE* ROOM X?", _QuestionReader.unplaced),
    ("BE there X?", _QuestionReader.exists),
    ("BE a|an|any|some|anything|something X?", _QuestionReader.exists),
    ("BE X or Y", _QuestionReader.alternatives),
    ("BE X big|large|wide enough for Y", _QuestionReader.enough),
    ("BE X", _QuestionReader.split),
)
_DECLARED: Frames = (
    ("X BE Z", _QuestionReader.stated),
    ("X verb=FITTING|STANDS|HOLDING Y", _QuestionReader.verb),
)
"""Statements that are asked: "whether the mug is behind the box"."""
_CHOICES: Frames = (
    ("BE X or Y superlative=SUPERLATIVE_OF", _QuestionReader.better),
    ("BE X or Y superlative=SUPERLATIVE_OF to|from Z", _QuestionReader.better),
    ("BE X P or Q", _QuestionReader.either),
    ("BE X P or Q T", _QuestionReader.either),
    (f"{_BEST} {_COMMA} X or Y", _QuestionReader.better),
    (f"{_BEST} to|from Z {_COMMA} X or Y", _QuestionReader.better),
    (f"{_BEST} to z=VIEWERS X or Y", _QuestionReader.better),
    (f"{_BEST} X or Y", _QuestionReader.better),
    (f"which|what K BE the? superlative=SUPERLATIVE_OF one? {_COMMA} X or Y", _QuestionReader.better),
)
_DISTANCES: Frames = (
    ("X away? by=from|to|off Y", _QuestionReader.apart),
    ("X and Y", _QuestionReader.apart),
    ("X R", _QuestionReader.along),
)
"""What follows "how far is", "the distance between"."""
_QUANTITIES: Frames = (
    (f"{_THE} UNMEASURED of|for Z?", _QuestionReader.unmeasured),
    (f"{_THE} number of N?", _QuestionReader.count),
    (f"{_THE} SPACE start=between|from|of|to|is|are D?", _QuestionReader.distance),
    (f"{_THE} LENGTHS of|is|are the SPACE between D", _QuestionReader.distance),
    (f"{_THE} LENGTHS of|is|are X", _QuestionReader.size),
    (f"{_THE} X SPACE Y", _QuestionReader.owned),
    (f"{_THE} X LENGTHS", _QuestionReader.owned),
)
"""What follows "what is", "tell me"."""
_ASKED: Frames = (
    ("how LENGTHS BE the SPACE between D", _QuestionReader.distance),
    ("how MANY? high|deep R BE X", _QuestionReader.along),
    ("how MANY? LENGTHS BE X", _QuestionReader.size),
    ("how MANY? LENGTHS X BE Y?", _QuestionReader.size),
    ("how far=MANY|FAR away|apart|off|together* D?", _QuestionReader.distance),
    ("how many N", _QuestionReader.count),
    ("count N", _QuestionReader.count),
    ("how much SPACE D?", _QuestionReader.space),
    ("how much COMPARATIVES BE X than Y", _QuestionReader.longer),
    ("how much COMPARATIVES X BE than Y", _QuestionReader.longer),
    ("where EXCLAIMED? still|already|really|actually|currently|also|even|now|exactly|precisely* Z", _PLACES),
    ("which|what BE? Q", _QUANTITIES),
    ("which|what X or Y", _QuestionReader.alternatives),
    ("which|what side of Y BE X on|at*", _QuestionReader.side),
    ("which|what K? BE X R", _QuestionReader.stranded),
    ("which|what K? is|are there", _QuestionReader.everything),
    ("which|what is|are there Z", _QuestionReader.which_lies),
    ("which|what do|can|could you|i|we see|find|spot|detect", _QuestionReader.everything),
    ("which|what do|can|could you|i|we see|find|spot|detect Z", _QuestionReader.which_lies),
    ("which|what N has=has|have Z", _QuestionReader.which),
    ("which|what stands|lies|sits Z", _QuestionReader.which_lies),
    ("which|what Z?", _QuestionReader.which),
    ("MODALS i|we|one put|place|fit|set|stand|lay|rest down? X?", _QuestionReader.placed),
    ("MODALS X verb=FITTING|STANDING|STANDS|HOLDING Y", _QuestionReader.verb),
)
"""Questions that begin with a word of their own."""
