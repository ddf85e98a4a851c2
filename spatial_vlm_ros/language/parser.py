# SPDX-License-Identifier: Apache-2.0
"""Instruction to readings: characters → words → tokens → flat sentence → readings."""

from __future__ import annotations

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.grammar import flatten
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.part_phrases import in_parts
from spatial_vlm_ros.language.possessives import rewrite_possessives
from spatial_vlm_ros.language.questions_of_space import read_question
from spatial_vlm_ros.language.reordering import reorder
from spatial_vlm_ros.language.steps import readings_of
from spatial_vlm_ros.language.tagging import Tagger
from spatial_vlm_ros.language.words import Word, check, split, without_stumbles
from spatial_vlm_ros.types import SpatialQuery


def parse(instruction: str) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction.

    Args:
        instruction: one command, question or description in English, or several commands in one sentence.

    Returns:
        The readings, the preferred one first; their preferences sum to 1, and `readings` is their number on each.

    Raises:
        InputError: no string, longer than `MAX_LENGTH` characters, or with control characters.
        NotUnderstoodError: the words are outside the grammar; it carries the span of the first part not understood.
    """
    return parse_after(instruction, later=False)


def parse_after(instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction that may follow others.

    Args:
        instruction: as for `parse`.
        later: whether something was said before. Then "it" is a phrase of the category "it" for the caller to replace,
            and "the other mug" is other than that.

    Raises:
        InputError, NotUnderstoodError: as `parse`.
    """
    check(instruction)
    words = without_stumbles(split(instruction))
    asked = read_question(words, instruction, lambda part: _read(part, instruction, later), later)
    return _read(words, instruction, later) if asked is None else asked


def _read(words: list[Word], instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """All readings of words by the grammar of instructions."""
    tagger = Tagger(reorder(rewrite_possessives(list(words))))
    tokens = tagger.run()
    readings = readings_of(flatten(tokens, instruction), instruction, later)
    if readings[0].action == "place" and readings[0].destination is None:
        _check_place(tokens, instruction)
    if tagger.deictic is not None and readings[0].action == "place" and readings[0].destination is None:
        repair = 'say it as "on the tray" or "next to the box"'
        raise NotUnderstoodError(instruction, tagger.deictic, "this place cannot be seen in words", repair)
    return tuple(in_parts(reading) for reading in readings)


def _check_place(tokens: list[Token], instruction: str) -> None:
    """Refuse "move the cup to the left", which says no place; it does not mean the leftmost cup."""
    for token in tokens:
        if token.kind == "VERB" and token.text in lexicon.VERBS_WITH_PLACES:
            repair = 'say where to: "on the tray" or "next to the box"'
            raise NotUnderstoodError(instruction, (token.start, token.end), "this verb needs a place", repair)
        if token.kind == "SIDE" and token.text.startswith("to "):
            reason = "this place cannot be seen in words"
            repair = 'name a thing: "to the left of the box"'
            raise NotUnderstoodError(instruction, (token.start, token.end), reason, repair)
