# SPDX-License-Identifier: Apache-2.0
"""The project stays within size_budget.toml; `python -m scripts.size_report` prints the table."""

from __future__ import annotations

import pytest

from scripts.size_report import budgets, exceeded, measured, room_of, single_callers, table


def test_nothing_is_larger_than_its_budget() -> None:
    sizes, allowed = measured(), budgets()
    print(table(sizes, allowed))  # noqa: T201
    assert exceeded(sizes, allowed) == [], "lower another budget by as much, see CONTRIBUTING.md"


def test_no_budget_is_left_of_what_is_gone() -> None:
    sizes, allowed = measured(), budgets()
    only_live = {"resolver_node"}
    assert {name: allowed[name].keys() for name in allowed.keys() - only_live} == {n: sizes[n].keys() for n in sizes}


def test_what_grows_beyond_a_budget_or_has_none_is_named() -> None:
    sizes = {"package": {"cli": 11.0, "files": 9.0, "new": 1.0}}
    assert exceeded(sizes, {"package": {"cli": 10, "files": 9}}) == ["package.cli", "package.new"]


@pytest.mark.parametrize(
    ("file", "room"),
    [
        ("spatial_vlm_ros/cli/main.py", "cli"),
        ("spatial_vlm_ros/manipulation/approval/broker.py", "manipulation"),
        ("spatial_vlm_ros/resolver.py", "top"),
        ("spatial_vlm_lab/cli/main.py", "spatial_vlm_lab"),
        ("test/cli/test_cli.py", "test"),
        ("setup.py", None),
        ("docs/index.md", None),
    ],
)
def test_a_file_belongs_to_one_room(file: str, room: str | None) -> None:
    assert room_of(file) == room


def test_private_functions_used_once_are_counted() -> None:
    source = """
class A:
    def _once(self): return _twice() + _twice()
    def __init__(self): self._once()
def _twice(): return 1
def _never(): return 2
def public(): return 3
"""
    assert single_callers([source, "def _other(): ...\n_other()"]) == 2
