# SPDX-License-Identifier: Apache-2.0
"""What a stage cannot offer makes it be drawn again."""

from __future__ import annotations

import numpy as np
import pytest

from research.constructed.stage import NoRoom, Stage


def test_a_stage_without_any_of_the_kinds_is_drawn_again() -> None:
    stage = Stage(np.random.default_rng(0), "answerable", (20.0, 40.0), False)
    assert stage.choose(("crate", "box"), ("crate",)) == "box"
    with pytest.raises(NoRoom):
        stage.choose(("crate", "box"), ("crate", "box"))
