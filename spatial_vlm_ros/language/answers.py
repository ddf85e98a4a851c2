# SPDX-License-Identifier: Apache-2.0
"""Classify answers: yes, no, "the other one", "the second one", "neither", or other words.

Knows the words that have a meaning only after a question or an answer, but not the question itself. Every list here was
reviewed; words in none of them are left to the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from spatial_vlm_ros.language.lexicon import NUMBERS, ORDINALS

AnswerKind = Literal["yes", "no", "none", "other", "others", "any", "all", "nth", "unsaid", "end", "words"]
"""yes · no: the object shown is not meant · none: none of the offered ones · other: not the one shown · any: any of
them · all: every one of them · nth: by its number in the question · unsaid: no answer ("I don't know") · end: a word
to stop · words: a description, a denied description, or a new instruction."""


@dataclass(frozen=True)
class AnswerWords:
    """The meaning of words that answer a question or an answer.

    Args:
        words: what is left to parse ("the red one" of "no, the red one"), as said; "" if nothing.
        n: number of "nth", from 1; -1 = the last one.
    """

    kind: AnswerKind
    words: str = ""
    n: int = 0
    yes: bool = False
    no: bool = False


_POINT = r"(?:that|this|it)"
_MEANT = r"(?:(?:one |what )?i (?:mean|meant|want|wanted|said|asked for|was asking for|am asking for))"
_RIGHT = r"(?:right|correct|true)"
_YES = re.compile(
    r"(?:yes|yeah|yep|yup|yah|ya|aye|yes it is|yes i do|yes i did|sure(?: thing)?|of course|certainly|absolutely"
    r"|definitely|indeed|exactly|precisely|quite right|all right|alright|ok|okay|fine|good|great|perfect|affirmative"
    r"|mhm|mm hm|uh huh|you got it|got it|go ahead|go on|go for it|do it|do that|do so|do|i do|i did|it is|it was"
    rf"|it does|that will do|that works|sounds good|looks good|{_RIGHT}|you are {_RIGHT}|i think so|i believe so"
    r"|i guess so|(?:that|this) one|just that(?: one)?|that very one|the very one|the same(?: one)?|same"
    rf"|{_POINT} (?:is|was)(?: it| {_RIGHT}| fine| good| ok| okay| great| perfect| the one| the {_RIGHT} one"
    rf"| the one {_MEANT}| {_MEANT})"
    rf"|i (?:mean|meant|want|wanted) {_POINT}(?: one)?|{_POINT} one is {_RIGHT})"
)
_NO = re.compile(
    r"(?:no|nope|nah|no way|negative|wrong|incorrect|false|not|not really|not quite|no thanks|no thank you|never"
    r"|of course not|certainly not|absolutely not|definitely not|i (?:do|did) not|it (?:is|was|does) not"
    r"|i (?:do not|don) think so|i think not|not at all"
    rf"|{_POINT} (?:is|was) (?:wrong|incorrect|false|a mistake|no good|the wrong (?:one|object|thing))"
    rf"|{_POINT}(?: one)? (?:is|was) (?:not|wrong)(?: (?:it|{_RIGHT}|that|good|ok|okay|fine|the one|the {_RIGHT} one"
    rf"|the one {_MEANT}|{_MEANT}))?"
    rf"|not (?:that|this|it|the)(?: very)?(?: one)?|not (?:that|this) (?:one|object|thing) (?:there|here)"
    rf"|not the (?:one|{_RIGHT} one)(?: {_MEANT})?|not what {_MEANT}|not {_MEANT}"
    r"|(?:the )?wrong(?: one| object| thing)?"
    rf"|you (?:are|were) wrong|you got (?:it|that) wrong|you (?:took|picked|chose|have) the wrong (?:one|object|thing)"
    rf"|i (?:do|did) not (?:mean|want|say|ask for) (?:that|this|it)(?: one)?)"
)
_NONE = re.compile(
    r"(?:neither|none|no one|not one|not any|nothing)(?: one| ones)?(?: of (?:them|these|those|the two|both|you))?"
    r"|not either(?: one)?(?: of (?:them|these|those))?|not any of (?:them|these|those)|nothing of (?:that|the kind)"
    r"|(?:it|that) is (?:neither|none)(?: of (?:them|these|those))?|i (?:mean|meant|want) (?:neither|none)(?: of them)?"
)
_OTHER = re.compile(
    r"(?:(?:the|an?|some|any|that|take|try|pick|choose|use|give me|bring me|i (?:mean|meant|want|wanted)|it is|that is)"
    r" )*(?:other|another|different|next)(?: one| object| thing)?(?: instead| then)?"
    r"|something else|(?:the one|what) you did not (?:pick|take|choose|show|name|say)"
    r"|(?:the )?one (?:that is )?(?:next to it|beside it) instead|try again|not that one but the other(?: one)?"
)
_OTHERS = re.compile(r"(?:the |some )?(?:other|different) (?:ones|two|three|four)|the (?:others|rest)|(?:all )?others")
_ANY = re.compile(
    r"(?:either|any|whichever|whatever|either way|any one|anyone)(?: one)?(?: of (?:them|these|those|the two|both))?"
    r"(?: will do| is fine| is ok| is okay| is good| you like| you want| works)?"
    r"|(?:it |that )?(?:does not matter|is all the same|makes no difference)(?: to me)?(?: which(?: one)?)?"
    r"|no matter(?: which)?|i do not (?:care|mind)(?: which(?: one)?)?|all the same|as you like"
    r"|(?:you (?:choose|decide|pick)|your choice|up to you|it is up to you)(?: one)?"
    r"|(?:just )?(?:pick|take|choose|give me) (?:one|any|either)(?: of them)?"
)
_ALL = re.compile(
    r"(?:both|all|every one|each|all (?:two|three|four|five))(?: one)?(?: of (?:them|these|those))?"
    r"|i (?:mean|meant|want) (?:both|all)(?: of them)?|the (?:two|three|four) of them"
)
_UNSAID = re.compile(
    r"|what|huh|pardon(?: me)?|excuse me|sorry|i do not know|i do not understand|no idea|i have no idea|not sure|unsure"
    r"|i am not sure|repeat(?: that| the question| it)?|say (?:that|it) again|again|which|which ones?|who|why"
    r"|what do you mean|what did you say|maybe|perhaps|possibly|probably|hm+|mm+|i guess|let me (?:see|think)"
    r"|(?:wait|hold on|one moment|just a moment|one second)|hello|hi|thanks|thank you|yes and no|yes no|no yes"
)
_END = re.compile(
    r"(?:stop|halt|freeze|abort|cancel|quit|exit|hold it|hold|enough|that is enough|that will do for now)(?: it| that"
    r"| this| now| there| everything| right there)?|never ?mind(?: that| it)?|forget (?:it|that|about it|about that)"
    r"|leave it(?: alone| be)?|do not(?: do (?:it|that|anything))?|stop (?:moving|it|that|right now)"
    r"|(?:call|break) it off"
    r"|i changed my mind|do nothing|no more|that is all|give up|undo|go away|shut up|do not bother"
)
_NTH = re.compile(
    r"(?:it is |that is |i (?:mean|meant|want) )?(?:the )?(?:very )?"
    r"(?:(?P<word>[a-z0-9-]+)|(?:number|option|no|answer|#) ?"
    r"(?P<number>[a-z0-9]+))(?: one| option| answer)?"
)
_PREFIX_YES = re.compile(
    r"(?:yes|yeah|yep|yup|correct|exactly|that is right|that is correct)\b[\s,.;:!-]+"
    r"|(?:sure|of course|certainly|absolutely|great|good|fine|perfect)\s*[,.;:!-]+\s*"
)
_PREFIX_NO = re.compile(
    r"(?:no|nope|nah|not really|not quite|wrong|incorrect|that is wrong"
    r"|that is not it|that is not right|that is incorrect|not that one"
    r"|that is not the one|that is the wrong one|not it|not that|not this one)\b[\s,.;:!-]+(?:but\s+)?"
    r"|(?:neither|none)(?: of (?:them|these|those))?\s*[,.;:!-]+\s*(?:but\s+)?"
)
_PREFIX_FILLER = re.compile(
    r"(?:uh|um|er|erm|ah|oh|hm+|mm+|well|so|like|actually|please|hey|robot|ok|okay|sorry|alright|all right|look|listen"
    r"|i think|i guess|i said|i say|rather|just|then|and|maybe it is|my bad|and then|now)\b[\s,.;:!-]*"
)
_SUFFIX_FILLER = re.compile(
    r"[\s,.;:!?-]+(?:please|thanks|thank you|robot|then|i think|i guess|i said|of course|yes|ok)$"
)
_APOSTROPHES = (
    (r"\b(can|ca)n't\b", "can not"), (r"\bwon't\b", "will not"),
    (r"\b(is|are|was|were|do|does|did|has|have|had|would|should|could)n'?t\b", r"\1 not"),
    (r"\b(it|that|this|there|what|he|she|here)'?s\b(?! own\b)", r"\1 is"),
    (r"\bone's\b", "one is"), (r"\bi'?m\b", "i am"), (r"\b(you|we|they)'re\b", r"\1 are"),
    (r"\b(i|you|we|they)'(?:ll|d)\b", r"\1 will"),
)  # fmt: skip
_PLURAL_OF_DENIAL = re.compile(r"not (?:that|those|these)(?: ones)?|those are wrong|the wrong ones")


def normalised(words: str) -> str:
    """Normalise words for comparison.

    Lower case, contractions written out, no punctuation at the ends, single spaces.
    """
    text = words.lower().replace("’", "'").replace("‘", "'")
    for pattern, written in _APOSTROPHES:
        text = re.sub(pattern, written, text)
    return " ".join(text.strip(' \t\r\n.,;:!?"“”()').split())


def classify(words: str, nouns: tuple[str, ...] = ()) -> AnswerWords:
    """Classify an answer.

    Args:
        nouns: names of the objects in question: "the other cup" means "the other one" if they are cups.

    Returns:
        The classified answer. For the kind "words", `words` is the part left for the parser, without a leading yes or
        no.
    """
    text = normalised(words)
    for noun in sorted(filter(None, nouns), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(noun.lower())}(?P<s>s?)\b", lambda m: "one" + m["s"], text)
    answer = _classified(text)
    if answer.kind != "words":
        return answer
    rest = words
    if answer.yes or answer.no:
        said = words.split()
        tails = (" ".join(said[start:]) for start in range(len(said)))
        rest = next((tail for tail in tails if _without_fillers(normalised(tail)) == answer.words), answer.words)
    return AnswerWords("words", rest, yes=answer.yes, no=answer.no)


def _classified(text: str, depth: int = 0) -> AnswerWords:
    bare = _without_fillers(text)
    whole = _whole(bare)
    if whole is None and bare != text:
        whole = _whole(text)
    if whole is not None:
        return whole
    if not bare:
        return AnswerWords("yes" if _YES.fullmatch(text) else "unsaid")
    for pattern, yes in ((_PREFIX_YES, True), (_PREFIX_NO, False)):
        said = pattern.match(bare)
        if said is not None and depth < 4:
            rest = _classified(bare[said.end() :].strip(), depth + 1)
            return _joined(rest, yes)
    return AnswerWords("words", bare)


def _joined(rest: AnswerWords, yes: bool) -> AnswerWords:
    if rest.kind in ("unsaid", "end"):
        return rest if rest.kind == "end" else AnswerWords("yes" if yes else "no")
    if yes:
        contrary = rest.kind in ("no", "none", "other", "others") or rest.no
        return AnswerWords("unsaid") if contrary else AnswerWords(rest.kind, rest.words, rest.n, yes=True)
    if rest.kind == "yes" or rest.yes:
        return AnswerWords("unsaid")
    return AnswerWords(rest.kind, rest.words, rest.n, no=True)


def _whole(text: str) -> AnswerWords | None:
    """The kind of a complete answer; None if the words must be parsed."""
    kinds: tuple[tuple[AnswerKind, re.Pattern[str]], ...] = (
        ("end", _END), ("unsaid", _UNSAID), ("none", _NONE), ("no", _NO), ("no", _PLURAL_OF_DENIAL),
        ("other", _OTHER), ("others", _OTHERS), ("any", _ANY), ("all", _ALL), ("yes", _YES),
    )  # fmt: skip
    for kind, pattern in kinds:
        if pattern.fullmatch(text):
            return AnswerWords(kind)
    n = _place(text)
    return None if n is None else AnswerWords("nth", text, n)


def _place(text: str) -> int | None:
    """The number meant by "the second one", "number two" or "the last one"; -1 for the last."""
    said = _NTH.fullmatch(text)
    if said is None:
        return None
    word, number = said["word"], said["number"]
    if number is not None:
        return int(number) if number.isdigit() and len(number) < 4 and int(number) else NUMBERS.get(number)
    if word.isdigit() and len(word) < 4 and int(word):
        return int(word)
    if word in ("last", "latter"):
        return -1
    figures = re.fullmatch(r"([1-9]\d{0,2})(?:st|nd|rd|th)", word)
    if figures is not None:
        return int(figures[1])
    return 1 if word == "former" else ORDINALS.get(word)


def _without_fillers(text: str) -> str:
    while True:
        shorter = text[m.end() :] if (m := _PREFIX_FILLER.match(text)) and m.end() < len(text) else text
        shorter = _SUFFIX_FILLER.sub("", shorter).strip()
        if shorter == text:
            return text
        text = shorter
