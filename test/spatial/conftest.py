# SPDX-License-Identifier: Apache-2.0
"""Tables that are drawn and lifted once, scenes put together by hand, and judges of relations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judges import Asked
from relation_scenes import Ground
from rendered_tables import Table, laid_out, lifted

from spatial_vlm_ros import resolver
from spatial_vlm_ros.sim.tabletop import Rendering


@pytest.fixture(scope="module", autouse=True)
def _lifted_once() -> Iterator[None]:
    """Resolvers lift no frame twice that they get again with the same detections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolver, "build_scene", lifted)
        patch.setattr(resolver, "lay_out", laid_out)
        yield


@pytest.fixture(scope="session")
def tabletop(tabletop: Any) -> Table:
    return Table(tabletop)


@pytest.fixture(scope="session")
def ground() -> Ground:
    return Ground()


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture(scope="session")
def two_sides(tabletop: Table) -> Rendering:
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2))


@pytest.fixture(scope="session")
def unclear(tabletop: Table) -> Rendering:
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("hair", -0.004, 0.2), tabletop.can("right", 0.2, 0))
