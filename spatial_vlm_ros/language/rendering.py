# SPDX-License-Identifier: Apache-2.0
"""Queries back to words."""

from spatial_vlm_ros.types import NounPhrase, SpatialQuery


def describe(phrase: NounPhrase) -> str:
    """Words."""
    return phrase.category


def render(query: SpatialQuery) -> str:
    """Words."""
    return query.action
