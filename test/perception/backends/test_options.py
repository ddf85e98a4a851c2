# SPDX-License-Identifier: Apache-2.0
"""Options that a backend does not take, or does not get, are named."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception import load_grounder


@pytest.mark.parametrize(
    ("backend", "options", "words"),
    [
        ("owl", {}, ("none. Expected model (needed), prompt,", "Give model=…")),
        ("compact", {"colour": "red"}, ("colour=red. Expected model, score,", "Leave colour out")),
        ("composed", {"masks": "sam2"}, ("Expected grounder (needed), options,", "Give grounder=…")),
    ],
)
def test_options_are_named_that_are_missing_or_not_known(
    backend: str, options: dict[str, str], words: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        load_grounder(backend, options)
    assert all(part in str(caught.value) for part in words), str(caught.value)
