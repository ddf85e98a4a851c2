# SPDX-License-Identifier: Apache-2.0
"""The table of budgets: each row is one that the package keeps, and what is beyond is refused before work is spent."""

import re
from pathlib import Path
from typing import Any

import pytest

from spatial_vlm_ros import Detection, Resolver, budgets
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

ROOT = Path(budgets.__file__).parent.parent


def test_every_budget_is_a_row_that_some_module_keeps() -> None:
    names = {name for name in vars(budgets) if re.fullmatch("[A-Z][A-Z_]+", name)} - {"BUDGETS"}
    sources = [path for folder in ("spatial_vlm_ros", "spatial_vlm_lab") for path in ROOT.glob(f"{folder}/**/*.py")]
    text = "\n".join(path.read_text() for path in sources)
    imported = re.findall(r"^from spatial_vlm_ros\.budgets import (.*)", text, re.M)
    assert names == set(", ".join(imported).split(", "))
    assert len(names) == len(budgets.BUDGETS) == len({(request, what) for request, what, _, _ in budgets.BUDGETS})


def test_more_of_one_name_than_fit_into_a_second_are_refused_before_they_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame, _ = chicks_and_cup_frame()
    many = [Detection(f"d{n}", "box", 0.9, (n % 600, n // 600, n % 600 + 9.0, n // 600 + 9.0)) for n in range(301)]
    monkeypatch.setattr("spatial_vlm_ros.resolver.build_scene", lambda *_: pytest.fail("measured"))
    answer = Resolver().resolve(frame, "the box next to the box left of the box", many)
    assert "labelled 'box': 301. Expected 300 at most" in answer.message


@pytest.mark.parametrize("changed", [{"label": "x" * 1001}, {"id": "x" * 1001}, {"box_xyxy": (0.0, 0.0, 1e7, 1.0)}])
def test_a_detection_beyond_reason_is_refused(changed: dict[str, Any]) -> None:
    box = {"id": "a", "label": "a", "score": 1.0, "box_xyxy": (0.0, 0.0, 1.0, 1.0)}
    with pytest.raises(InputError, match=r"1001 characters|four numbers to 1e\+06"):
        Detection(**{**box, **changed})
