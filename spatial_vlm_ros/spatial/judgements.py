# SPDX-License-Identifier: Apache-2.0
"""Cache measurements of one answer for later clauses that ask the same about the same objects.

The readings of a sentence share most of their clauses and differ in their attachment.
"""

from __future__ import annotations

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

    def judged(self, clause: RelationClause, pairs: Pairs) -> tuple[Array, Array] | None:
        """(T, A) margins and likelihoods of a clause, read-only; None if they are new."""
        return self._judged.get(_key(clause, pairs))

    def keep(self, clause: RelationClause, pairs: Pairs, found: tuple[Array, Array]) -> None:
        """Keep what was judged of cached pairs."""
        key = _key(clause, pairs)
        if self._pairs.get(key[0]) is pairs:
            self._judged[key] = found


def _key(clause: RelationClause, pairs: Pairs) -> tuple[_Between, _Said]:
    between = pairs.view.frame, pairs.targets.tobytes(), pairs.anchors.tobytes()
    return between, (clause.relation, clause.preposition, clause.negated, clause.distance)
