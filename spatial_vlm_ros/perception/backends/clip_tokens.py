# SPDX-License-Identifier: Apache-2.0
"""Tokens of CLIP's text model for phrases, as OWL-ViT, OWLv2 and SAM 3 use them; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.loading import processor
from spatial_vlm_ros.perception.backends.model_inputs import Ids, read_tokenizer, whole

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_PADDING = 0  # id of "!", the padding of OWL-ViT and OWLv2; a text that begins with it counts as empty


class ClipTokens:
    """Turns phrases into tokens of a model.

    Args:
        model: the backend's name, for messages.
        words: words that the model knows; None = not known.
    """

    def __init__(self, tokenizer: Any, length: int, *, model: str, words: int | None = None) -> None:
        self._tokenizer, self.length = whole(tokenizer), length
        begin, end = (self._tokenizer.token_to_id(token) for token in (BEGIN, END))
        said = self._tokenizer.encode("a cup").ids
        repair = "use the tokenizer.json that was published with the model"
        if None in (begin, end) or said[:1] != [begin] or said[-1:] != [end] or max(said[:-1]) >= end:
            reason = f"its tokenizer does not put words between {BEGIN} and {END}, or numbers a token higher than {END}"
            raise ModelError(model, reason, repair)
        if words is not None and end >= words:
            raise ModelError(model, f"its tokenizer has {end + 1} words and its model {words}", repair)

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Tokenize N texts: input_ids and attention_mask, both (N, length) int64."""
        ids = np.full((len(texts), self.length), _PADDING, np.int64)
        mask = np.zeros((len(texts), self.length), np.int64)
        for n, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            if len(encoding.ids) > self.length:
                expected = f"a text of {self.length - 2} tokens at most"
                raise InputError("category", repr(texts[n]), expected, "use fewer words")
            ids[n, : len(encoding.ids)] = encoding.ids
            mask[n, : len(encoding.ids)] = 1
        return ids, mask


def tokens_of(folder: Path, length: int, *, model: str) -> ClipTokens:
    """Load the tokenizer of a model whose folder holds tokenizer.json.

    Args:
        model: the backend's name, for messages.
    """
    return ClipTokens(read_tokenizer(folder, model), length, model=model)


def tokens_for(text_config: Any, path_or_id: str, *, model: str) -> ClipTokens:
    """Load the tokenizer of a transformers model, from whichever files it was published in.

    Args:
        path_or_id: folder, or id of the hub.
        model: the backend's name, for messages.
    """
    tokenizer = processor(path_or_id, model=model, cls="CLIPTokenizer").backend_tokenizer
    length, words = text_config.max_position_embeddings, text_config.vocab_size
    return ClipTokens(tokenizer, length, model=model, words=words)
