# SPDX-License-Identifier: Apache-2.0
"""Backend "composed": one backend finds the objects, SAM 2 gives masks, another is asked for the whole phrase.

The three are chosen independently; what is left out is left to the first.
"""

from __future__ import annotations

NAME = "composed"

# what answers questions about relations: see perception.judging.judge_of
_QUESTIONS = ("judge", "scorer", "answer", "box_text")
