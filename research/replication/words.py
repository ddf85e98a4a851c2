# SPDX-License-Identifier: Apache-2.0
"""Word-level tokenizer of the grammar, and what a processor makes of images and questions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from research.replication.scenes import SOLIDS, Turn
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.depth_items import ASKED as DEPTH_ASKED
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES
from spatial_vlm_ros.vlm.diagnostics.item_set import ASKED, EDGES, PLACES, RELATIVE_ASKED

PAD, BEGIN, END, IMAGE = 0, 1, 2, 3
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
MOST_SIDE = 12
"""Rows, and columns, that have squares with names."""
SQUARES = tuple(f"{chr(ord('a') + column)}{row + 1}" for row in range(MOST_SIDE) for column in range(MOST_SIDE))
"""Places on a grid as on a chessboard: column a from the left, row 1 from the top."""
LOCATION_ASKED = "On which square is the {}?"
IGNORED = -100
"""Label of a token that is not learnt."""
_TELLING = "a and is of the on which square picture farther than shape table there ."
_PIECES = re.compile(r"[a-z]+[0-9]*|[?.,]")


def pieces(text: str) -> list[str]:
    """Words and marks of a text, in lower case; raises InputError where something else is in it."""
    found = _PIECES.findall(text.lower())
    if "".join(found) != re.sub(r"\s", "", text.lower()):
        raise InputError("text", repr(text), "words, squares and the marks ? . ,", "write it so")
    return found


def _vocabulary() -> tuple[str, ...]:
    texts = [*ASKED.values(), *EDGES.values(), RELATIVE_ASKED, *DEPTH_ASKED.values(), LOCATION_ASKED, _TELLING]
    texts += [*COLOURS, *SHAPES, *SOLIDS, *PLACES, *SQUARES]
    return (*SPECIAL, *sorted({piece for text in texts for piece in pieces(text.replace("{}", " "))}))


VOCABULARY = _vocabulary()
"""Token → word; the grammar has no other."""
_NUMBER = {word: k for k, word in enumerate(VOCABULARY)}


def encode(text: str) -> list[int]:
    """Tokens of a text.

    Raises:
        InputError: a word that the grammar does not have.
    """
    found = pieces(text)
    unknown = [piece for piece in found if piece not in _NUMBER]
    if unknown:
        raise InputError("words", repr(unknown), "words of the grammar", "use the words of the questions")
    return [_NUMBER[piece] for piece in found]


def decode(tokens: Sequence[int]) -> str:
    """Words of tokens with a space between them, without special ones; raises InputError for a token out of range."""
    if any(not 0 <= token < len(VOCABULARY) for token in tokens):
        raise InputError("tokens", str(list(tokens)), f"0 to {len(VOCABULARY) - 1}", "decode what `encode` gave")
    return " ".join(VOCABULARY[token] for token in tokens if token >= len(SPECIAL))


def square(row: int, column: int) -> str:
    """The name of a cell of a grid: row 0 and column 0 are "a1", the left upper corner."""
    return SQUARES[row * MOST_SIDE + column]


def cell_of(token: int) -> tuple[int, int] | None:
    """Row and column of the square that a token names; None for any other token."""
    word = VOCABULARY[token]
    return divmod(SQUARES.index(word), MOST_SIDE) if word in SQUARES else None


def padded(rows: Sequence[Sequence[int]], fill: int = PAD) -> Tensor:
    """(B, N) int64, shorter rows filled at the end."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def pixels(images: Sequence[Rgb], side: int) -> Tensor:
    """(B, 3, side, side) float32, -1 to 1, of images of any size, made smaller by area."""
    return scaled(torch.stack([small(rgb, side) for rgb in images]))


def small(image: Rgb, side: int) -> Tensor:
    """(3, side, side) uint8 of an image of any size, made smaller by area."""
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))


def scaled(images: Tensor) -> Tensor:
    """float32, -1 to 1, of uint8."""
    return images.float().div(127.5).sub(1.0)


def prompt(question: str, image_tokens: int) -> list[int]:
    """Begin, the image, the question."""
    return [BEGIN, *[IMAGE] * image_tokens, *encode(question)]


def conversation(turns: Sequence[Turn], image_tokens: int) -> tuple[list[int], list[int]]:
    """Tokens of an image with several questions, and labels: answers and their ends; all else is IGNORED."""
    tokens, labels = [BEGIN, *[IMAGE] * image_tokens], [IGNORED] * (1 + image_tokens)
    for turn in turns:
        question, answer = encode(turn.question), [*encode(turn.answer), END]
        tokens += [*question, *answer]
        labels += [*[IGNORED] * len(question), *answer]
    return tokens, labels
