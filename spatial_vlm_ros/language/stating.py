# SPDX-License-Identifier: Apache-2.0
"""Rewrite commands that start with a statement, or are phrased as one, into the word order that the grammar knows.

"There's a sponge by the sink. Toss it into the bin." becomes "a sponge by the sink, toss it into the bin", and "I'd
like the cup moved to the tray" becomes "move the cup to the tray".
"""

from __future__ import annotations

from spatial_vlm_ros.language import acts
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.simplifying import AFTERWARDS, GOAL_VERBS, Simplifier, phrases_of
from spatial_vlm_ros.language.wordlists import CONTAINERS, PARTS, SURFACES
from spatial_vlm_ros.language.words import Word, singular

_WISHES = frozenset(phrase for pattern in acts.WISHES for phrase in expand(pattern))
_TOPICS = phrases_of("can|could|do you see", "you see", "see", "you know", "do you know", "notice", "take",
        "about", "where is|are", "where's", "wheres")  # fmt: skip
_THERE_IS = ("there is|are like?", "there's|theres like?")
_THERES = phrases_of(*_THERE_IS)
_STATED = phrases_of(*_THERE_IS, "i|we think|believe|guess|reckon there's|theres", "i|we see|have",
                     "i|we think|believe|guess|reckon there is|are", "i|we left|put|placed|dropped|forgot|lost",
                     "i've|ive|we've left|put|placed|dropped")  # fmt: skip
_BEFORE_ONE = frozenset({"DET", "ADJ", "ADJNOUN", "SUP", "POSITION", "ORD"})
_STANDS = phrases_of(
    "is|are|stands|sits|lies|hangs", "has|have fallen|rolled|slid|slipped", "should|must|might|may|could be"
)
_VERY = frozenset({"very", "really", "too", "so", "all", "quite", "pretty"})
_ARTICLES = frozenset({"a", "an", "some"})
_SO = phrases_of("so that? i|we|you|they|he|she can|could|can't|cannot|couldn't|don't|won't|may|might|will",
                 "so that? nobody|somebody|someone|everybody|everyone", "so that? no one")  # fmt: skip
_CARRYING = {"on": SURFACES, "onto": SURFACES, "in": CONTAINERS, "into": CONTAINERS, "inside": CONTAINERS}
_IT = (("it",), ("them",), ("that", "one"), ("that",))
_MOVED = {"moved": "move", "put": "put", "placed": "place", "shifted": "shift", "brought": "bring", "pushed": "push",
          "pulled": "pull", "slid": "slide", "returned": "return", "handed": "hand", "passed": "pass"}  # fmt: skip
_PLACES = frozenset({"here", "there", "over", "back", "down"})
_OF_SEVERAL = phrases_of("of the two|three|four|pair|lot|bunch", "of them", "of both", "one")
_SAID_AGAIN = phrases_of("put it|them back|away|over? there", "put it|them there")
_LANDING = frozenset({"belongs", "belong", "lives", "live", "goes", "be"})
_CONTRASTS = frozenset({"and", "but", "or", "although", "though", "because", "since", "while", "not"})
"""Words that join two statements."""
_FITTING = frozenset({"open", "close", "shut", "turn", "switch", "wipe", "unlock"})
"""Verbs that may be about the object's support or container."""
_PLACES_OF = frozenset({"hook", "base", "drawer", "shelf", "slot", "compartment", "stand", "rack"})
"""Parts that are apart from the object that owns them ("the hammer back on its hook")."""
_STAYING = frozenset({"on", "in", "inside", "at", "under", "by", "beside", "near", "behind", "where", "here", "there"})
_WISHING = frozenset({"i", "i'd", "we", "we'd", "i'll", "id", "i'm", "let's"})
_SEEING = phrases_of("do|can|could you see|find|spot")
_INTO = frozenset({"in", "inside", "between", "under", "behind"})
_BESIDE = frozenset({"on", "against", "beside", "by", "next"})
OTHER_VERBS = {"shove": (_INTO, "put"), "stand": (_INTO | _BESIDE, "put"), "clear": (frozenset({"off"}), "take")}
"""Verbs that mean another verb if one of some words follows."""
_WITHIN = frozenset({"in", "on", "into", "onto", "inside"})
_SIDES = frozenset({"left", "right"})
_SUBORDINATE = frozenset({"that", "which", "who", "was", "were", "is", "are", "been", "you", "i", "we", "not"})
_CORRECTING = frozenset({"actually", "mean", "instead", "no", "rather", "sorry", "oops", "wait"})
_LONGEST_OPENING = 30  # words


class Stating(Simplifier):
    """Rewrite a statement as a part of the command."""

    def polite(self, i: int = 0) -> int:
        """Index of the first word after polite ones from word `i` on."""
        while i < len(self.words):
            found = next((match for match in self.matches(i) if "POLITE" in match.kinds), None)
            if self._sign(i, "comma"):
                i += 1
            elif found is None or not self.polite_there(found.text, i + found.length) or self._longest(i, _TOPICS):
                break
            else:
                i += found.length
        return i

    def _wish(self, i: int) -> int:
        """Number of words of a wish for an object at word `i`, or 0."""
        length = self._wishing(i)
        return length if length and self.opens(i + length) and not self.peek(i + length) & {"PERSON"} else 0

    def _wishing(self, i: int) -> int:
        """Number of words of a wish of any kind at word `i`, or 0."""
        found = self.matches(i) if i < len(self.words) else ()
        return next((match.length for match in found if match.text in _WISHES), 0)

    # -------------------------------------------------------------------------------------------- said first

    def _stated(self) -> None:
        """Write "a sponge by the sink, toss it …" for "There's a sponge by the sink. Toss it …"."""
        if {"it", "them", "that"}.isdisjoint(self.texts[3:]):
            return
        first = 0 if self.relating(0) else self.polite()
        order = self._order_about_it(first + 2)
        if order is None:
            return
        begin, pronoun, length = order
        cut = begin - (self._sign(begin - 1, "stop") or self._sign(begin - 1, "comma"))
        cut -= self.texts[cut - 1] in ("and", "so")
        said = self.words[first:cut]
        if cut - first > _LONGEST_OPENING or acts.PURE_VERBS & set(self.texts[first:cut]) - _MOVED.keys():
            return
        if _CONTRASTS & set(self.texts[first:cut]) or not self._about(first, cut, begin, pronoun, length):
            return
        there, begun = self._introduced(first, cut)
        subject: list[Word] | None = None
        if begun > first and (there > first or self.opens(begun)):
            subject = [*self.words[begun:cut], *self.words[first:there]]
        elif self.opens(first):
            stands = next((j for j in range(first + 1, cut - 1) if self._longest(j, _STANDS)), None)
            after = 0 if stands is None else stands + self._longest(stands, _STANDS)
            goal = stands is not None and self.texts[after - 1] == "be" and self.texts[self.polite(begin)] in GOAL_VERBS
            if goal:
                return
            state = after + (self.texts[after] in _VERY) if stands is not None and after < cut else cut
            if stands is not None and (self.relating(after) or self._describes(state, cut)):
                that = self._words(self.words[stands], "that", "is")
                told = after if self.relating(after) else state
                subject = [*self.words[first:stands], *that, *self.words[told:cut]]
            elif stands is None and self.polite(begin) > begin:  # "the jumper, could you hang it up"
                subject = said
        if not subject:
            return
        near = self.words[begin]
        words = [*subject, *self._words(near, ","), *self.words[self.polite(begin) :]]
        it = len(words) - (len(self.words) - pronoun)
        words[it : it + length] = self._words(self.words[pronoun], "them" if self.texts[pronoun] == "them" else "it")
        self.words[:] = words
        self.rewritten += 1
        self.reset()

    def _describes(self, i: int, cut: int) -> bool:
        """True if one describing word fills the words from `i` to `cut`."""
        return i == cut - 1 and bool(self.peek(i) & {"ADJ", "ADJNOUN"}) and not self.relating(i)

    def _stated_place(self) -> None:
        """Write "put the cup on the tray by the sink" for "There's a tray by the sink. Put the cup on it"."""
        if self.texts.count("it") != 1 or len(self.words) < 7:
            return
        it, first = self.texts.index("it"), self.polite()
        begun = self._introduced(first, it)[1]
        carrying = _CARRYING.get(self.texts[it - 1], frozenset())
        ends = (j for j in range(begun + 1, it - 3) if self._sign(j, "stop") or self._sign(j, "comma"))
        cut = next(ends, 0)
        if begun == first or not cut or not carrying or not self.tail[it + 1] or not self.opens(begun):
            return
        told = next((j for j in range(begun + 1, cut) if self.relating(j) and not self.nominal(j)), cut)
        order = cut + 1 + (self.texts[cut + 1] in ("and", "so"))
        noun, rest = self.texts[told - 1], self.texts[order:it]
        plain = _CONTRASTS.isdisjoint(self.texts[first:cut]) and not self.peek(begun) & {"NUM", "QTY", "PERSON"}
        if not plain or noun not in carrying or noun in rest or not self._orders(order) or {"them", "one"} & set(rest):
            return
        that = self._words(self.words[told - 1], "that", "is") if told < cut else []
        place = [*self.words[begun:told], *that, *self.words[told:cut]]
        if place[0].text in _ARTICLES:
            place = [*self._words(place[0], "the"), *place[1:]]
        self.words[:] = [*self.words[order:it], *place, *self.words[it + 1 :]]
        self.rewritten += 1
        self.reset()

    def _introduced(self, first: int, cut: int) -> tuple[int, int]:
        """Start of "there is" or the like after word `first`, and start of the object that it introduces."""
        begun = first + self._longest(first, _STATED)
        there = next((j for j in range(begun + 2, cut) if self._longest(j, _THERES)), None)
        if there is None or not self.relating(begun):
            return first, begun
        return there, there + self._longest(there, _THERES)

    def _about(self, first: int, cut: int, begin: int, pronoun: int, length: int) -> bool:
        """True if "it" in a command can only be the object that was stated, not an object beside it."""
        begun = self._introduced(first, cut)[1]
        ends = (
            j for j in range(begun + 1, cut) if (self.relating(j) and not self.nominal(j)) or self._longest(j, _STANDS)
        )
        noun = self.texts[next(ends, cut) - 1]
        plural = singular(noun) != noun
        verb, after, rest = self.texts[self.polite(begin)], self.texts[pronoun + length :], self.texts[begin:]
        if (
            (self.texts[pronoun] == "them") != plural
            or self.peek(begun) & {"PERSON"}
            or "there" in rest
            or noun in rest
        ):
            return False
        if after[:1] in (["out"], ["off"]) or (after[:1] == ["and"] and self.opens(pronoun + length + 1)):
            return False
        return verb not in _FITTING and not any(
            text in ("it", "them") and self.peek(j) & {"REL", "OF"}
            for j, text in enumerate(after, pronoun + length - 1)
        )

    def _order_about_it(self, i: int) -> tuple[int, int, int] | None:
        """Start of a command about "it" after word `i`, the index of its "it", and its number of words."""
        for begin in range(i, len(self.words) - 1):
            verb = self.polite(begin)
            if verb == begin and self.words[begin - 1].kind == "word":
                continue
            for match in self.matches(verb):
                for it in _IT if "VERB" in match.kinds else ():
                    pronoun = verb + match.length
                    after = pronoun + len(it)
                    if tuple(self.texts[pronoun:after]) == it and (it[-1] != "that" or self.relating(after)):
                        return begin, pronoun, len(it)
        return None

    def _then(self) -> None:
        """Write "then" for the full stop of "open the box. Then put the mug in it" and "take the mug. Put it …"."""
        for i in range(1, len(self.words) - 1):
            if not self._sign(i, "stop"):
                continue
            length = self._longest(i + 1, AFTERWARDS)
            if length:
                self._put(i, 1 + length + self._sign(i + 1 + length, "comma"), "then")
            corrects = self.words[i].text.startswith("?") or _CORRECTING & set(self.texts[i + 1 :])
            if not length and self._orders(0) and self._orders(i + 1) and not corrects:
                self._put(i, 1, "then")

    def _orders(self, i: int) -> bool:
        verb = self.polite(i)
        return any("VERB" in match.kinds and self.opens(verb + match.length) for match in self.matches(verb))

    def _topic(self) -> None:
        """Write "the mug, grab it" for "Do you see the mug? Grab it"."""
        ends = [i for i, word in enumerate(self.words) if word.kind == "stop" and word.text.startswith("?")]
        first = self.polite()
        opening = self._longest(first, _TOPICS) or self._longest(0, _TOPICS)
        if not ends or ends[0] + 1 >= len(self.words) or not opening or not self.opens(first + opening):
            return
        if not self._about_it(ends[0] + 1):
            return
        self._put(ends[0], 1, ",")
        self._put(0, first + opening)

    def _about_it(self, i: int) -> bool:
        """True if a command about "it" starts at word `i`."""
        rest = self.texts[i : i + 12]
        return "it" in rest or "them" in rest

    def _counted(self) -> None:
        """Write "I want the dispenser nearer the window" for "There are two dispensers; I want the one nearer …"."""
        if {"one", "ones"}.isdisjoint(self.texts[3:]):
            return
        first = self.polite()
        begin = first + self._longest(first, _STATED)
        stop = next((j for j in range(begin, len(self.words)) if self.words[j].kind in ("stop", "comma")), 0)
        one = next((j for j in range(stop + 1, len(self.words)) if self.texts[j] in ("one", "ones")), 0)
        if begin == first or not stop or not one:
            return
        told = next((j for j in range(begin + 1, stop) if self.relating(j) and not self.nominal(j)), stop)
        if self.relating(begin) or (told < stop and not self.tail[one + 1]):
            return
        if not self.peek(one - 1) & _BEFORE_ONE or self.nominal(one + 1) or {"it", "them"} & set(self.texts[one:]):
            return  # "there are two mugs, take one", "give me one cup", "in the one behind it"
        if self.texts[begin] in ("the", "my", "this", "that"):
            return
        while begin < stop and self.peek(begin) & {"DET", "NUM", "QTY"}:
            begin += self.matches(begin)[0].length
        if not self.peek(one - 1) & {"DET"}:  # "a red mug, … the blue one"
            while begin < told - 1 and self.peek(begin) & {"ADJ", "ADJNOUN", "SUP", "POSITION"}:
                begin += 1
        said = self.texts[begin:told]
        if said and all(map(self.nominal, range(begin, told))):
            said[-1] = singular(said[-1]) if self.texts[one] == "one" else said[-1]
            self._put(one, 1, *said, *self.texts[told:stop])
            self._put(0, stop + 1)

    def _back_there(self) -> None:
        """Drop "; put it back there" after "the spoon belongs in the jar"."""
        if _LANDING.isdisjoint(self.texts) or self._orders(0):
            return
        lands = next((j for j, text in enumerate(self.texts) if text in _LANDING and self.relating(j + 1)), None)
        for i in range(3 if lands is None else lands + 3, len(self.words) - 2):
            length = self._longest(i, _SAID_AGAIN) if lands is not None else 0
            ended = self._sign(i - 1, "stop") or self._sign(i - 1, "comma")
            if length and self.tail[i + length] and ended and _CONTRASTS.isdisjoint(self.texts[:i]):
                self._put(i - 1, length + 1)
                return

    # -------------------------------------------------------------------------------------------- said like a statement

    def _minding(self) -> None:
        """Write "would you mind passing" for "mind passing"."""
        if self.texts[0] == "mind" and len(self.texts) > 1 and self.texts[1].endswith("ing"):
            self._put(0, 1, "would", "you", "mind")

    def _purpose(self) -> None:
        """Drop "so nobody trips over it" and "so that I can see it" at the end: a reason names no object."""
        for i in range(3, len(self.words) - 2):
            length = self._longest(i, _SO)
            rest = self.texts[i:]
            ends = any(self._sign(j, "stop") for j in range(i, len(self.words) - 1))
            if length and not ends and not self._sign(i - 1, "stop") and {"and", "then"}.isdisjoint(rest):
                begin = i - self._sign(i - 1, "comma")
                self._put(begin - 1, len(self.words) - begin + 1, self.texts[begin - 1])
                return

    def _her(self, i: int) -> None:
        """Write "him" for the "her" of "give her the cup": a person without a name."""
        if self.peek(i + 1) & {"DET"} or self.texts[i + 1 : i + 2] in (["it"], ["them"]):
            self._put(i, 1, "him")

    def _seen_anywhere(self) -> None:
        """Drop the "anywhere" of "Do you see a mug anywhere?"."""
        last = len(self.words) - 1
        last -= self._sign(last, "stop")
        if self.texts[last : last + 1] == ["anywhere"] and any(self._longest(i, _SEEING) for i in (0, self.polite())):
            self._put(last, 1)

    def _wished_there(self) -> None:
        """Write "put it on the tray" for "I want it on the tray"; "I want it to stay" and "kept" are no commands."""
        if _WISHING.isdisjoint(self.texts):
            return
        for i in range(len(self.words) - 2):
            length = self._wishing(i) if self.texts[i] in _WISHING else 0
            after = i + length
            if length and self.texts[after : after + 1] in (["it"], ["them"]) and self.relating(after + 1):
                self._put(i, length, "put")
                return
            for j in range(after + 1, len(self.words) - 1) if length else ():
                stays = self.texts[j] in ("left", "kept") and self.texts[j + 1] in _STAYING
                if stays or self.texts[j : j + 2] in (["to", "stay"], ["to", "remain"]):
                    self._put(j, 1 if stays else 2, "keep")  # refused as a second verb
                    return

    def _wished_moved(self) -> None:
        """Write "move the cup to the tray" for "I'd like the cup moved to the tray"."""
        if _MOVED.keys().isdisjoint(self.texts[2:]):
            return
        first = self.polite()
        for start in (first, 0):
            wish = self._wish(start)
            if not wish:
                continue
            for i in range(start + wish + 1, len(self.words) - 1):
                if self.texts[i] in _SUBORDINATE:  # "I want the cup that was put on the tray"
                    return
                goes = self.relating(i + 1) or self.texts[i + 1] in _PLACES
                if self.texts[i] in _MOVED and goes and self.words[i - 1].kind == "word":
                    verb = _MOVED[self.texts[i]]
                    self._put(i, 1)
                    self._put(0, start + wish, verb)
                    return

    def _apposed(self) -> None:
        """Write "the shorter pen" for "the pen, the shorter of the two" and "the pen, the shorter one"."""
        for i in range(2, len(self.words) - 2):
            if self.texts[i + 1] != "the" or not self._sign(i, "comma"):
                continue
            length = next((n for n in (1, 2) if self._longest(i + 2 + n, _OF_SEVERAL)), 0)
            end = i + 2 + length + self._longest(i + 2 + length, _OF_SEVERAL)
            told = all(self.peek(j) & {"SUP", "ADJ", "ADJNOUN", "POSITION"} for j in range(i + 2, i + 2 + length))
            if not length or not told or not (self.tail[end] or self.relating(end)):
                continue
            article = next((j for j in reversed(range(i)) if self.texts[j] in ("the", "my", "that")), None)
            if article is None or any(map(self.relating, range(i))):  # "the cup on the tray, the red one"
                return
            if self.peek(article + 1) & {"NUM", "QTY"}:
                return
            said = self.texts[i + 2 : i + 2 + length]
            self._put(i, end - i)
            self._put(article, 1, "the", *said)
            return

    def _other_verb(self, i: int) -> None:
        """Write "put the ladle in the pot" for "shove the ladle in the pot"."""
        before, verb = OTHER_VERBS[self.texts[i]]
        place = next((j for j in range(i + 2, len(self.words)) if self.texts[j] in before), None)
        if place is None or not self.opens(i + 1) or not _SUBORDINATE.isdisjoint(self.texts[i:place]):
            return
        if verb == "take" and not (self.peek(place + 1) & {"DET"} and _CONTRASTS.isdisjoint(self.texts[i:place])):
            return  # "clear the table off"
        if i == self.polite() or self.peek(i - 1) & {"AND", "THEN", "COMMA", "POLITE"}:
            self._put(i, 1, verb)

    def _it_me(self, i: int) -> None:
        """Write "give me it" for "give it me"."""
        if self.texts[i + 1 : i + 3] == ["it", "me"]:
            self._put(i + 1, 2, "me", "it")

    def _on_its_side(self, i: int) -> None:
        """Write "in the left side of the fridge" for "in the fridge, on the left"."""
        side = self.texts[i + 3 : i + 4]
        if {"not", "than"} & set(self.texts[:i]):
            return
        if not self._sign(i, "comma") or self.texts[i + 1 : i + 3] not in (["on", "the"], ["at", "the"]):
            return
        place = next((j for j in reversed(range(i)) if self.texts[j] in _WITHIN), None)
        whole = place is not None and self.texts[i - 1] in SURFACES | CONTAINERS and self.opens(place + 1)
        if side and side[0] in _SIDES and self.tail[i + 4] and whole and place is not None:
            self._put(i, 4)
            self._put(place, 1, self.texts[place], "the", side[0], "side", "of")

    def _its(self, i: int) -> None:
        """Write "on the hook" for "on its hook"; the object's own parts ("its lid") are not separate places."""
        alone = {"and", "then", "with"}.isdisjoint(self.texts[:i])  # else it may be of another
        if i > 2 and alone and self.peek(i - 1) & {"REL", "OF"} and self.nominal(i + 1):
            noun = next((j for j in range(i + 1, len(self.words) + 1) if not self.nominal(j)), i + 1) - 1
            own = self.texts[noun] in PARTS or self.peek(i + 1) & {"SUP", "POSITION", "SIDE"}
            if self.texts[noun] in _PLACES_OF or not own:
                self._put(i, 1, "the")

    def _and_motion(self, i: int) -> None:
        """Write "and place it" for "and to place it", "off the tray onto the shelf" for "… and onto the shelf"."""
        if self.texts[i + 1 : i + 2] == ["to"] and self.peek(i + 2) & {"VERB"}:
            self._put(i + 1, 1)
        elif self.texts[i + 1 : i + 2] in (["onto"], ["into"]) and {"off", "out", "from"} & set(self.texts[:i]):
            self._put(i, 1)

    def _like(self, i: int) -> None:
        """Drop "like" before a number ("like thirty centimetres away")."""
        if self.measures(i + 1):
            self._put(i, 1)

    def _words(self, near: Word, *texts: str) -> list[Word]:
        return [Word(text, near.start, near.end, "comma" if text == "," else "word") for text in texts]
