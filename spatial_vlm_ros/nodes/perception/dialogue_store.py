# SPDX-License-Identifier: Apache-2.0
"""Stores dialogues that later words may continue, limited in number and age. No ROS."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.spatial.dialogue_state import Dialogue

MOST_KEPT = 200
"""Most dialogues that are kept."""
_MOST_OVER = 1000  # ids of forgotten dialogues, so that the refusal can say that they are over
_REPAIR = "send the whole instruction without an id"


class DialogueStore:
    """Keeps the newest dialogues by id.

    Args:
        timeout: seconds without use after which a dialogue is forgotten.
        clock: returns monotonic seconds.
    """

    def __init__(self, timeout: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._kept: OrderedDict[str, tuple[float, Dialogue]] = OrderedDict()  # id -> when last used
        self._over: OrderedDict[str, str] = OrderedDict()  # id -> why it is over

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, dialogue: Dialogue | None) -> None:
        """Store a dialogue as used now; None, or a dialogue without an id, is ignored."""
        if dialogue is None or not dialogue.id:
            return
        self._forget_old()
        self._kept[dialogue.id] = self._clock(), dialogue
        self._kept.move_to_end(dialogue.id)
        self._over.pop(dialogue.id, None)
        while len(self._kept) > MOST_KEPT:
            self._end(next(iter(self._kept)), f"which was replaced by {MOST_KEPT} newer ones")

    def find(self, dialogue_id: str) -> Dialogue | None:
        """The dialogue of an id, marked as used now; None for ""."""
        if not dialogue_id:
            return None
        self._forget_old()
        if dialogue_id not in self._kept:
            why = self._over.get(dialogue_id, "")
            got = f"{dialogue_id!r}, {why}" if why else repr(dialogue_id)
            raise InputError("dialogue_id", got, "the id of a recent answer or question", _REPAIR)
        _, dialogue = self._kept[dialogue_id]
        self._kept[dialogue_id] = self._clock(), dialogue
        self._kept.move_to_end(dialogue_id)
        return dialogue

    def _forget_old(self) -> None:
        limit = self._timeout()
        oldest = self._clock() - limit
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._end(next(iter(self._kept)), f"which expired after {limit:g} s without a reply")

    def _end(self, dialogue_id: str, why: str) -> None:
        del self._kept[dialogue_id]
        self._over[dialogue_id] = why
        while len(self._over) > _MOST_OVER:
            self._over.popitem(last=False)
