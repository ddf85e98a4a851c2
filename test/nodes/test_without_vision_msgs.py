# SPDX-License-Identifier: Apache-2.0
"""A machine without vision_msgs: what does not need it works; what does says how to install it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from live_process import Started

HIDE = "raise ModuleNotFoundError(\"No module named 'vision_msgs'\", name='vision_msgs')\n"


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vision_msgs cannot be imported by the processes of this test."""
    package = tmp_path / "hidden" / "vision_msgs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(HIDE)
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=":")


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("wish", [{"selection": True}, {"objects": True}, {"detections_type": "vision_msgs"}])
def test_what_needs_it_says_how_to_install_it(node: Callable[..., Started], wish: dict[str, object]) -> None:
    running = node("resolver", **wish)
    running.says("the package 'vision_msgs' is not installed")
    running.says("interfaces/vendor/vision_msgs")
    assert "Traceback" not in running.output


@pytest.mark.usefixtures("hidden")
def test_nothing_else_needs_it(node: Callable[..., Started]) -> None:
    node("resolver").says("resolver is active")
