# SPDX-License-Identifier: Apache-2.0
"""Dialogues with a simulated person on random tables end with the object that is meant, and never with another one."""

from __future__ import annotations

import pytest

from research.experiments.dialogues import dialogues, misnamed, of_tables


@pytest.mark.parametrize("first", [0, 3, pytest.param(6, marks=pytest.mark.slow)])
def test_dialogues_end_right(first: int) -> None:
    ended, untrue = [], []
    for setting in of_tables(2, first):
        for words, meant in setting.sentences[:4]:
            ended += list(dialogues(setting, words, meant))
            untrue += misnamed(setting, words)
    assert len(ended) >= 10
    assert not [one.text for one in ended if one.wrong]
    assert sum(one.right for one in ended) >= 0.95 * len(ended), [one.text for one in ended if not one.right]
    assert not untrue
