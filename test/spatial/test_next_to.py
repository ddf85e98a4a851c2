# SPDX-License-Identifier: Apache-2.0
"""What is in an object is not next to it."""

from __future__ import annotations

from typing import Any


def test_what_is_in_a_bowl_is_not_next_to_it(tabletop: Any) -> None:
    seen = tabletop.see(
        tabletop.cup("bowl", 0, 0, 0.07, 0.055, label="bowl"),
        tabletop.ball("in", 0, 0, 0.025, z=0.004),
        tabletop.ball("beside", 0.14, 0, 0.025),
    )
    answer = tabletop.ask(seen, "the ball next to the bowl")
    assert answer.target is not None, answer.message
    assert answer.target.id == "beside"
