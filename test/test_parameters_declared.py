# SPDX-License-Identifier: Apache-2.0
"""Parameters: bounds, reading them, and the shipped file."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import rows

from spatial_vlm_ros import errors, parameters
from spatial_vlm_ros.parameters import (
    EvidenceConfig,
    NodeConfig,
    PlanningConfig,
    PlayerConfig,
    RelationConfig,
    ResolverConfig,
    Settings,
    SimArmConfig,
    StreamConfig,
    config_from,
    planning_from,
    settings_from,
)
from spatial_vlm_ros.parameters.nodes import values_of
from spatial_vlm_ros.types import FrameOfReference

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("form", [ResolverConfig, PlanningConfig])
def test_every_parameter_has_bounds_a_unit_and_a_reason(form: type) -> None:
    for group in dataclasses.fields(form):
        value = getattr(form(), group.name)
        if not dataclasses.is_dataclass(value):
            continue
        for field in dataclasses.fields(value):
            default = getattr(value, field.name)
            if isinstance(default, (bool, str)):
                choices = field.metadata["choices"]  # none: any text, such as the name of a file
                assert isinstance(default, bool) or not choices or default in choices, field.name
            else:
                assert field.metadata["low"] <= default <= field.metadata["high"], field.name
            assert isinstance(field.metadata["unit"], str)
            assert len(field.metadata["doc"]) > 15, field.name


def test_every_parameter_is_read_somewhere() -> None:
    """Outside the modules that declare it: else it can be set and has no effect."""
    texts = [path.read_text() for path in ROOT.glob("spatial_vlm_*/**/*.py") if path.parent.name != "parameters"]
    read = set(re.findall(r"\w+", " ".join(re.findall(r'\.\w+(?:\("\w+)?', "\n".join(texts)))))
    forms = [form for form in vars(parameters).values() if dataclasses.is_dataclass(form) and isinstance(form, type)]
    names = {field.name for form in forms for field in dataclasses.fields(form)}
    assert names - read == set()


@pytest.mark.parametrize("name", ["viewer", "robot", "speaker", "world"])
def test_every_frame_but_an_objects_own_can_be_the_default(name: str) -> None:
    assert config_from({"frame_of_reference": name}).frame_of_reference is FrameOfReference(name)


@pytest.mark.parametrize(
    ("name", "read", "defaults"),
    [("resolver", settings_from, Settings()), ("planning", planning_from, PlanningConfig())],
)
def test_the_shipped_files_hold_the_defaults_of_everything(name: str, read: Any, defaults: Any) -> None:
    values = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())["/**"]["ros__parameters"]
    assert read(values) == defaults


def test_given_values_replace_defaults_and_the_rest_stays() -> None:
    relation = {"down_ahead": "up", "second_frame": "robot", "world_defined": True}
    named = {"frame_of_reference": "robot", "lift": {"erode_px": 2}, "occupancy": {"reach": 1}, "relation": relation}
    config = config_from(named)
    assert (config.frame_of_reference, config.lift.erode_px) == (FrameOfReference.ROBOT, 2)
    assert repr(config.occupancy.reach) == "1.0"
    assert config.relation == RelationConfig(**relation)
    assert config.depth == ResolverConfig().depth


@pytest.mark.parametrize(("read", "values", "error", "words"), rows(__file__, "parameters_refused"))
def test_wrong_parameters_are_named_with_what_would_be_right(read: str, values: Any, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        getattr(parameters, read)(values)


def test_settings_are_sorted_into_their_rooms() -> None:
    settings = settings_from({"base_frame": "", "sync_slop": 0.05, "grounder": "simulator", "decision": {"mass": 0.9}})
    assert settings.streams == StreamConfig(base_frame="", sync_slop=0.05)
    assert settings.node == NodeConfig(grounder="simulator")
    assert settings.resolver.decision.mass == 0.9


@pytest.mark.parametrize("form", [StreamConfig, NodeConfig, EvidenceConfig, PlayerConfig, SimArmConfig])
def test_every_setting_says_what_it_does(form: type) -> None:
    for field in dataclasses.fields(form):
        assert len(field.metadata["doc"]) > 15, field.name


def test_parameters_of_evidence_are_a_group_and_read_back() -> None:
    settings = settings_from({"evidence": {"keep": "refused", "most_files": 3}, "base_frame": "base"})
    assert settings.evidence == EvidenceConfig(keep="refused", most_files=3)
    assert settings_from(values_of(settings)) == settings
