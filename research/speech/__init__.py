# SPDX-License-Identifier: Apache-2.0
"""Meanings → English sentences, as people say them; the other way round than `language`, and written without it.

Written from docs/relations.md and from how people talk, it shares no word list with the parser, so that sentences made
here test the parser. Every sentence means what the query says; where English leaves the attachment of a clause open,
the meant reading is one of those that a listener would consider.
"""

from research.speech.canonical import canonical
from research.speech.meanings import random_query
from research.speech.sentences import STYLES, random_style, say

__all__ = ["STYLES", "canonical", "random_query", "random_style", "say"]
