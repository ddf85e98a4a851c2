# SPDX-License-Identifier: Apache-2.0
"""Parse an instruction: characters → words → tokens → flat sentence → readings."""

from __future__ import annotations

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.accounting import REWRITTEN, SLIP, WordRole, check_accounted, lost
from spatial_vlm_ros.language.grammar import flatten
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.part_phrases import in_parts
from spatial_vlm_ros.language.possessives import rewrite_possessives
from spatial_vlm_ros.language.questions_of_space import read_question
from spatial_vlm_ros.language.reordering import reorder
from spatial_vlm_ros.language.steps import readings_of
from spatial_vlm_ros.language.stopping import asks_to_stop
from spatial_vlm_ros.language.tagging import Tagger
from spatial_vlm_ros.language.unit_nouns import check_lengths
from spatial_vlm_ros.language.words import Word, check, split, without_stumbles
from spatial_vlm_ros.types import NounPhrase, SpatialQuery
from spatial_vlm_ros.types.query import STOP


def parse(instruction: str) -> tuple[SpatialQuery, ...]:
    """Parse an instruction into all its readings.

    Args:
        instruction: one command, question or description in English, or several commands in one sentence.

    Returns:
        The readings, the preferred one first; their preferences sum to 1, and `readings` is their number on each. Words
        that ask to stop are one reading with the action `types.query.STOP`.

    Raises:
        InputError: not a string, longer than `MAX_LENGTH` characters, or with control characters.
        NotUnderstoodError: the words are outside the grammar; it carries the span of the first part not understood.
    """
    return parse_after(instruction, later=False)


def parse_after(instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """Parse an instruction that may follow others.

    Args:
        later: True if something was said before. Then "it" is a phrase of the category "it" for the caller to replace,
            and "the other mug" excludes that object.
    """
    check(instruction)
    words = split(instruction)
    if asks_to_stop(words):
        return (SpatialQuery(instruction, STOP, NounPhrase("object")),)
    asked = read_question(without_stumbles(words), instruction, lambda part: _read(part, instruction, later), later)
    return _read(words, instruction, later) if asked is None else asked


def _read(words: list[Word], instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """Parse words with the grammar of instructions."""
    tagger, roles = _tagged(words)
    tokens = tagger.run()
    readings = readings_of(flatten(tokens, instruction), instruction, later)
    if readings[0].action == "place" and readings[0].destination is None:
        _check_place(tokens, instruction)
        unseen = tagger.deictic or tagger.way
        if unseen is not None:
            repair = 'say it as "on the tray" or "next to the box"'
            raise NotUnderstoodError(instruction, unseen, "the instruction does not name this place", repair)
    check_accounted(words, (*roles, *tagger.roles), instruction)
    check_lengths(readings, instruction)
    return tuple(in_parts(reading) for reading in readings)


def _tagged(words: list[Word]) -> tuple[Tagger, list[WordRole]]:
    """A tagger of words in the order of the grammar, and the roles of the words that it does not see."""
    fluent = without_stumbles(words)
    ordered = reorder(rewrite_possessives(fluent))
    roles = [*lost(words, fluent, SLIP), *lost(fluent, ordered.words, REWRITTEN)]
    return Tagger(ordered.words, ordered), roles


def account(instruction: str) -> tuple[WordRole, ...]:
    """The role of each word of an instruction, in the order said."""
    check(instruction)
    words = split(instruction)
    if asks_to_stop(words):
        return tuple(WordRole(word.start, word.end, "STOP") for word in words)
    tagger, roles = _tagged(words)
    tagger.run()
    return tuple(sorted({*roles, *(WordRole(*role) for role in tagger.roles)}))


def tokens_of(instruction: str) -> tuple[Token, ...]:
    """The tokens of an instruction, in the order of the grammar, which may not accept them."""
    check(instruction)
    return tuple(_tagged(split(instruction))[0].run())


_SOURCES = frozenset({"from", "off", "taken out of"})


def _check_place(tokens: list[Token], instruction: str) -> None:
    """Refuse "move the cup to the left", which names no place and does not mean the leftmost cup."""
    relative = any(token.kind == "THATIS" for token in tokens)
    for i, token in enumerate(tokens):
        after_object = i > 0 and tokens[i - 1].kind in ("NOUN", "PRON")
        reason, repair = (
            "the instruction does not name this place",
            'say where to: "on the tray" or "next to the box"',
        )
        joined = i > 0 and tokens[i - 1].kind in ("BUT", "AND", "NOT") and not relative
        if token.kind == "REL" and joined:
            reason, repair = "this does not say where to put it", 'say where to: "on the tray", "next to the box"'
        elif token.kind == "NOT" and (after_object or joined) and not relative:
            reason, repair = "this only says where not to put it", 'say where to, too: "on the tray but not near …"'
        elif token.kind == "REL" and token.value.name in _SOURCES and after_object:
            reason, repair = "this only says where it is taken from", 'say where to, too: "… to the table"'
        elif token.kind == "VERB" and token.text in lexicon.VERBS_WITH_PLACES:
            reason = "this verb needs a place"
        elif token.kind == "SIDE" and token.text.startswith("to "):
            repair = 'name an object or a distance: "to the left of the box", "10 cm to the left"'
        elif token.kind != "VERB" or token.text.split(" ")[-1] not in ("back", "away"):
            continue
        raise NotUnderstoodError(instruction, (token.start, token.end), reason, repair)
