# SPDX-License-Identifier: Apache-2.0
"""How long dialogues are kept, and how one that is over is refused."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.nodes.perception.dialogue_store import MOST_KEPT, DialogueStore
from spatial_vlm_ros.spatial.dialogue_state import Dialogue


def dialogue(name: str) -> Dialogue:
    queries = parse("grab the cup")
    return Dialogue(name, ("grab the cup",), queries, queries)


def test_an_expired_dialogue_is_refused_as_expired_and_an_unknown_one_as_unknown() -> None:
    now = [0.0]
    store = DialogueStore(lambda: 600.0, lambda: now[0])
    store.keep(dialogue("a"))
    now[0] = 500.0
    assert store.find("a") is not None  # used again: it lives on from here
    now[0] = 1000.0
    store.keep(dialogue("b"))
    assert store.find("a") is not None
    now[0] = 1650.0
    with pytest.raises(InputError, match=r"'b', which expired after 600 s without a reply") as caught:
        store.find("b")
    assert "Send the whole instruction" in str(caught.value)
    with pytest.raises(InputError) as caught:
        store.find("never")
    assert "expired" not in str(caught.value)
    assert len(store) == 0


def test_the_newest_are_kept_and_a_refusal_loses_none() -> None:
    store = DialogueStore(lambda: 600.0, lambda: 0.0)
    for number in range(MOST_KEPT + 50):
        store.keep(dialogue(str(number)))
    assert len(store) == MOST_KEPT
    with pytest.raises(InputError, match="which was replaced by"):
        store.find("0")
    assert len(store) == MOST_KEPT
    assert store.find(str(MOST_KEPT + 49)) is not None


def test_what_is_over_is_bounded_too() -> None:
    store = DialogueStore(lambda: 600.0, lambda: 0.0)
    for number in range(5 * MOST_KEPT + 1500):
        store.keep(dialogue(str(number)))
    with pytest.raises(InputError) as caught:
        store.find("0")
    assert "replaced" not in str(caught.value)


def test_nothing_is_kept_of_nothing() -> None:
    store = DialogueStore(lambda: 600.0)
    store.keep(None)
    store.keep(dialogue(""))
    assert len(store) == 0
    assert store.find("") is None
