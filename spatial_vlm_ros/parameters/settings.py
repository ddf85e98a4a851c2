# SPDX-License-Identifier: Apache-2.0
"""All settings that a parameter file of the resolver can contain."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_ros.parameters.bounds import check_names, filled
from spatial_vlm_ros.parameters.nodes import EvidenceConfig, NodeConfig, StreamConfig
from spatial_vlm_ros.parameters.resolver import ResolverConfig


@dataclass(frozen=True)
class Settings:
    """All settings that a parameter file can contain."""

    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    node: NodeConfig = field(default_factory=NodeConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)


def settings_from(values: Mapping[str, Any]) -> Settings:
    """All settings from the nested values of a parameter file; missing values keep their default."""
    rooms: tuple[Any, ...] = (ResolverConfig(), StreamConfig(), NodeConfig())
    names = [{f.name for f in dataclasses.fields(room)} for room in rooms]
    check_names("parameter", values, (*(f.name for room in rooms for f in dataclasses.fields(room)), "evidence"))
    parts = [{name: value for name, value in values.items() if name in known} for known in names]
    resolver, streams, node = (filled(room, part) for room, part in zip(rooms, parts, strict=True))
    return filled(Settings(resolver, streams, node), {"evidence": values.get("evidence", {})})


def values_of(settings: Settings) -> dict[str, Any]:
    """Nested values of a parameter file that `settings_from` reads back; enums are written as words."""
    values: dict[str, Any] = {}
    for room in (settings.resolver, settings.streams, settings.node):
        values |= dataclasses.asdict(room)
    values["evidence"] = dataclasses.asdict(settings.evidence)
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
