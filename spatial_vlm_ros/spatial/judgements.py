# SPDX-License-Identifier: Apache-2.0
"""Cache measurements of one answer for later clauses that ask the same about the same objects.

The readings of a sentence share most of their clauses and differ in their attachment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from spatial_vlm_ros.spatial.belief import Rows
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations import Pairs
from spatial_vlm_ros.types import Distance, FrameOfReference, RelationClause

_MOST = 500_000
"""Most pairs of target and anchor that are cached, some 80 bytes each; further ones are measured again."""

_Between = tuple[FrameOfReference, bytes, bytes]
_Said = tuple[str, str | None, bool, Distance | None]


@dataclass(eq=False)
class Judgements:
    """Cached pairs and their judgements."""

    _pairs: dict[_Between, Pairs] = field(default_factory=dict)
    _judged: dict[tuple[_Between, _Said], tuple[Array, Array]] = field(default_factory=dict)
    _size: int = 0

    def pairs(self, layout: Layout, view: Viewpoint, targets: Rows, rows: Rows) -> Pairs:
        """The pairs of some targets and anchors, with earlier results for them."""
        key = view.frame, targets.tobytes(), rows.tobytes()
        if key in self._pairs:
            return self._pairs[key]
        pairs = Pairs(layout, view, targets, rows)
        self._size += len(targets) * len(rows)
        if self._size <= _MOST:
            self._pairs[key] = pairs
        return pairs

    def judged(
        self, clause: RelationClause, pairs: Pairs, judge: Callable[[Pairs], tuple[Array, Array]]
    ) -> tuple[Array, Array]:
        """(T, A) margins and likelihoods of a clause, read-only; computed by `judge` if they are new."""
        between = pairs.view.frame, pairs.targets.tobytes(), pairs.anchors.tobytes()
        if self._pairs.get(between) is not pairs:
            return judge(pairs)
        key = between, (clause.relation, clause.preposition, clause.negated, clause.distance)
        if key not in self._judged:
            self._judged[key] = judge(pairs)
        return self._judged[key]
