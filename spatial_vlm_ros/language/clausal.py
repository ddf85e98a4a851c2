# SPDX-License-Identifier: Apache-2.0
"""Turn words into tokens: "is", "that is" and what continues them, postures, viewpoints."""

from __future__ import annotations

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.known_relations import is_framed
from spatial_vlm_ros.language.lookahead import ENDED, JOINTS, PREDICATING, Lookahead
from spatial_vlm_ros.language.relating import RelationTagger, Verdict
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import FrameOfReference

_VERBS_OR_NOUNS = frozenset({"stands", "sits", "lies", "rests", "stays", "appears"})


class ClauseTagger(RelationTagger):
    """The rules about clauses; `tagging.Tagger` adds those about commands and nouns.

    Attributes:
        at_start: True if only polite words were read so far.
        verb_seen: True if a verb was read.
        asked: True if polite words were read.
        gerund_seen: True if a verb in "-ing" was read ("would you mind opening").
        own_view_next: True if the next relation is seen from its anchor ("that from its own side is left of").
        deictic: span of a "here" or "there" that was dropped, or None.
        way: span of a direction that was dropped ("back", "away"), or None.
    """

    def __init__(self, words: list[Word], seen: Lookahead | None = None) -> None:
        super().__init__(words, seen)
        self.at_start = True
        self.verb_seen = False
        self.asked = False
        self.gerund_seen = False
        self.own_view_next = False
        self.deictic: tuple[int, int] | None = None
        self.way: tuple[int, int] | None = None

    def _as_which_is(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        return ("WHICH IS", value) if self.at_start else None

    def _as_which(self, _i: int, after: int, text: str, value: object) -> Verdict:
        if self.at_start:
            return ("WHICH", value)
        return ("THATIS", value) if text == "which" and self.relating(after) else None

    def _as_pron_thatis(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        return ("PRON THATIS", value) if self.previous() in ("", "VERB", "REL") and self._predicates(after) else None

    def _as_pron_thatis_not(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        fits = self.previous() in ("", "VERB", "REL") and (self.relating(after) or "EQUAL" in self.peek(after))
        return ("PRON THATIS NOT", value) if fits else None

    def _predicates(self, i: int) -> bool:
        """True if a predicate starts at word `i`, perhaps after "not"."""
        if "NOT" in self.peek(i):
            i += 1
        return self.relating(i)

    def _as_that(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.nominal(after):
            return ("DET", value)
        if self.previous() in ENDED and self.relating(after):
            return ("THATIS", value)
        return ("PRON", ("object", None))

    def _as_is(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.previous() in JOINTS and self._in_relative_list():
            return ("THATIS", value)  # "that is behind the box, is red and is near the cup"
        if (self.verb_seen or self._in_relative_list()) and self._closes_comparison(after):
            return True
        if any(token.kind == "DET" and token.text in lexicon.RELATIVE_CHOICES for token in self.tokens):
            return ("THATIS", value)  # "whichever mug is nearest"
        return (self.verb_seen and self.tail[after]) or ("IS", value)

    def _as_is_not(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        relative = self.previous() in JOINTS and self._in_relative_list()
        return ("THATIS NOT" if relative else "IS NOT", value)

    def _as_stands(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        """Settle the second verb of "which is near the cup and sits on the tray"."""
        fits = self.previous() in JOINTS and self._in_relative_list() and self.relating(after)
        return ("THATIS", value) if fits else None

    def _in_relative_list(self) -> bool:
        """True if "that is" was said, so that a further "is" continues it."""
        return any(token.kind == "THATIS" for token in self.tokens)

    def _closes_comparison(self, after: int) -> bool:
        """True if "is" only ends a comparison ("taller than the bowl is")."""
        said = next((token for token in reversed(self.tokens) if token.kind in ("REL", "THATIS", "SIDE")), None)
        compares = said is not None and said.kind == "REL" and said.text.endswith((" than", " as"))
        return compares and self.previous() == "NOUN" and not self.peek(after) & {"ADJ", "ADJNOUN", "SUP"}

    def _as_posture(self, _i: int, after: int, text: str, _value: object) -> Verdict:
        if text in _VERBS_OR_NOUNS and self.verb_seen and self.previous() == "NOUN":
            return None  # "give me the cake stands"
        if text in ("sat", "stood") and not self.verb_seen:
            return None  # "the cat sat on the mat" tells a story
        if self.previous() in ENDED | PREDICATING | JOINTS and self.relating(after):
            return True
        if (
            self.previous() in ENDED
            and self.peek(after) & {"ADJ"}
            and not self.nominal(after + self.matches(after)[0].length)
        ):
            return True  # "standing upright"
        return (text.endswith(("see", "seen", "visible")) and self.previous() in ENDED | PREDICATING) or None

    def _as_frame(self, _i: int, after: int, _text: str, value: tuple[object, object]) -> Verdict:
        if not self.nominal(after) and value == (FrameOfReference.OBJECT, None):
            return self._own_view() or ("FRAME", (*value, False))
        return None if self.nominal(after) else ("FRAME", (*value, False))

    def _own_view(self) -> bool:
        """Apply "from its own side" to the relation to the object that "it" is: the last one with a viewpoint."""
        for token in reversed(self.tokens):
            if token.kind == "VERB":
                break
            if token.kind == "REL" and token.value.frame is None and is_framed(token.value.name):
                token.value = token.value._replace(frame=FrameOfReference.OBJECT)
                return True
        return False

    def _as_there(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        return ("THERE", value) if self.at_start else None
