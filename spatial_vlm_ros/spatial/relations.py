# SPDX-License-Identifier: Apache-2.0
"""The relations: for every target and anchor, a signed margin in metres and its standard deviation.

One function a relation, in the order of docs/relations.md, and one line each in RELATIONS. Positive = holds.
All work on ground coordinates (see layout.py), for T targets and A anchors at once: shapes are (T, A).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a relation is asked about.

    Args:
        layout: the scene.
        view: the viewpoint of the frame of reference in force.
        targets: (T,) rows.
        anchors: (A,) rows.
    """

    layout: Layout
    view: Viewpoint
    targets: Indices
    anchors: Indices

    def directions(self) -> tuple[Array, Array]:
        """(A, 2) unit rays on the ground from the viewer to each anchor, and their right-hand normals."""
        places = self.layout.centre[self.anchors, :2]
        ahead = self.view.towards(places, self.layout.relation.straight_down_deg)
        return ahead, np.stack((-ahead[:, 1], ahead[:, 0]), axis=1)

    def offsets(self) -> tuple[Array, Array]:
        """From anchor centre to target centre: (T, A) along g1, and along g2."""
        x, y = self.layout.centre[:, 0], self.layout.centre[:, 1]
        return x[self.targets, None] - x[self.anchors], y[self.targets, None] - y[self.anchors]

    def along(self, directions: Array) -> tuple[Array, Array]:
        """Coordinates of outline corners along (A, 2) directions: of targets (T, K, A) and of the anchors (A, K)."""
        anchors = self.layout.footprint[self.anchors] @ directions[..., None]
        return self.layout.footprint[self.targets] @ directions.T, anchors[..., 0]

    def noise(self, blur_of: Array | None = None) -> Array:
        """(T, A) standard deviation of a distance between two objects: depth noise, and a part of the smaller size."""
        sigma = self.layout.sigma
        variance = sigma[self.targets, None] ** 2 + sigma[None, self.anchors] ** 2
        size = self.layout.size[:, :2].mean(axis=1) if blur_of is None else blur_of
        smaller = np.minimum(size[self.targets, None], size[None, self.anchors])
        return np.sqrt(variance + (self.layout.relation.size_blur * smaller) ** 2)


Measure = Callable[[Pairs], tuple[Array, Array]]


def left_of(pairs: Pairs) -> tuple[Array, Array]:
    """Lateral offset of the target's centre to the left of the ray viewer → anchor."""
    margin, sigma = right_of(pairs)
    return -margin, sigma


def right_of(pairs: Pairs) -> tuple[Array, Array]:
    """Lateral offset of the target's centre to the right of the ray viewer → anchor."""
    _, right = pairs.directions()
    x, y = pairs.offsets()
    return x * right[:, 0] + y * right[:, 1], pairs.noise()


def behind(pairs: Pairs) -> tuple[Array, Array]:
    """Farther along the ray viewer → anchor, within the cone about it.

    The lesser of two margins: how much farther the target is than the anchor (by where they begin, or by their centres,
    whichever says less), and how far inside the cone it lies (that distance against the gap between their sides).
    """
    return _along(pairs, 1.0)


def in_front_of(pairs: Pairs) -> tuple[Array, Array]:
    """Nearer along the ray viewer → anchor, within the cone about it; the mirror image of behind."""
    return _along(pairs, -1.0)


def _along(pairs: Pairs, sign: float) -> tuple[Array, Array]:
    config = pairs.layout.relation
    if pairs.view.down_deg > config.straight_down_deg:
        raise FrameUndefinedError(
            pairs.view.frame.value,
            f"a view {pairs.view.down_deg:.0f}° downwards has no behind and in front",
            "say left, right or nearest, or use the frame 'robot'",
        )
    ahead, right = pairs.directions()
    targets, anchors = pairs.along(ahead)
    begins = sign * (targets.min(axis=1) - anchors.min(axis=1))
    x, y = pairs.offsets()
    begins = np.minimum(begins, sign * (x * ahead[:, 0] + y * ahead[:, 1]))
    targets, anchors = pairs.along(right)
    aside = np.maximum(targets.min(axis=1) - anchors.max(axis=1), anchors.min(axis=1) - targets.max(axis=1))
    gap = np.maximum(aside, 0.0)
    in_cone = begins * np.tan(np.radians(config.cone_deg)) - gap
    return np.minimum(begins, np.where(gap > 0, in_cone, np.inf)), pairs.noise()


def on(pairs: Pairs) -> tuple[Array, Array]:
    """Resting on the anchor: its bottom at the anchor's top, its centre over the anchor's outline."""
    layout, config = pairs.layout, pairs.layout.relation
    gap = np.abs(layout.bottom[pairs.targets, None] - layout.top[None, pairs.anchors])
    higher = layout.centre[pairs.targets, None, 2] - layout.top[None, pairs.anchors]
    noise = pairs.noise()
    contact = config.contact + 2.0 * noise - gap
    return np.minimum(np.minimum(contact, _inside_outline(pairs)), higher), noise


def above(pairs: Pairs) -> tuple[Array, Array]:
    """Higher than the anchor's top, within a cone about the vertical."""
    return _vertical(pairs, pairs.layout.bottom[pairs.targets, None] - pairs.layout.top[None, pairs.anchors])


def below(pairs: Pairs) -> tuple[Array, Array]:
    """Lower than the anchor's bottom, within a cone about the vertical."""
    return _vertical(pairs, pairs.layout.bottom[None, pairs.anchors] - pairs.layout.top[pairs.targets, None])


def _vertical(pairs: Pairs, clear: Array) -> tuple[Array, Array]:
    """Clear height, allowing contact, and nearness of the outlines against the distance in height."""
    config = pairs.layout.relation
    noise = pairs.noise()
    height = pairs.layout.centre[:, 2]
    distance = np.abs(height[pairs.targets, None] - height[None, pairs.anchors])
    in_cone = distance * np.tan(np.radians(config.cone_deg)) + _overlap(pairs)
    return np.minimum(clear + config.contact, in_cone), noise


def under(pairs: Pairs) -> tuple[Array, Array]:
    """Below with the anchor over it: the centre of one lies within the outline of the other."""
    margin, noise = below(pairs)
    return np.minimum(margin, _overlap(pairs)), noise


def inside(pairs: Pairs) -> tuple[Array, Array]:
    """Contained: outline within the anchor's outline, bottom below its rim and not below its bottom."""
    layout = pairs.layout
    deep = layout.top[None, pairs.anchors] - layout.bottom[pairs.targets, None]
    held = layout.bottom[pairs.targets, None] - layout.bottom[None, pairs.anchors] + layout.relation.contact
    smaller = layout.reach[None, pairs.anchors] - layout.reach[pairs.targets, None]
    centre_in = layout.top[None, pairs.anchors] - layout.surface[pairs.targets, None, 2] + layout.relation.contact
    noise = pairs.noise()
    margins = (deep - layout.relation.contact, held, smaller, centre_in, _inside_outline(pairs))
    return np.minimum.reduce(margins), noise


def next_to(pairs: Pairs) -> tuple[Array, Array]:
    """Side by side: a gap of at most `next_to_sizes` mean sizes, neither over the other."""
    return _closeness(pairs, pairs.layout.relation.next_to_sizes)


def near(pairs: Pairs) -> tuple[Array, Array]:
    """A gap of at most `near_sizes` mean sizes."""
    return _closeness(pairs, pairs.layout.relation.near_sizes)


def far_from(pairs: Pairs) -> tuple[Array, Array]:
    """A gap of at least `far_sizes` mean sizes."""
    reach = _mean_reach(pairs)
    noise = np.hypot(pairs.noise(), 0.25 * reach)
    return _gap(pairs) - pairs.layout.relation.far_sizes * reach, noise


def _closeness(pairs: Pairs, sizes: float) -> tuple[Array, Array]:
    """Vague words: the limit itself is known to a quarter of a mean size."""
    reach = _mean_reach(pairs)
    layout = pairs.layout
    apart = np.maximum(
        layout.bottom[pairs.targets, None] - layout.top[None, pairs.anchors],
        layout.bottom[None, pairs.anchors] - layout.top[pairs.targets, None],
    )
    # What is over, under or in the other is not beside it.
    within = _overlap(pairs)
    stacked = np.where(within > 0, -within, np.inf)
    margin = sizes * reach - np.hypot(_gap(pairs), np.maximum(apart, 0.0))
    return np.minimum(margin, stacked), np.hypot(pairs.noise(), 0.25 * reach)


def _mean_reach(pairs: Pairs) -> Array:
    """(T, A) mean size of target and anchor."""
    reach = pairs.layout.reach
    return (reach[pairs.targets, None] + reach[None, pairs.anchors]) / 2


def _gap(pairs: Pairs) -> Array:
    """(T, A) horizontal gap between outlines along the line between centres, 0 where they overlap."""
    x, y = pairs.offsets()
    distance = np.sqrt(x * x + y * y)
    direction = np.stack((x, y)) / np.maximum(distance, 1e-9)  # (2, T, A), from anchor to target
    layout = pairs.layout
    outline = layout.footprint - layout.centre[:, None, :2]
    reach_t = -(outline[pairs.targets] @ np.ascontiguousarray(direction.transpose(1, 0, 2))).min(axis=1)
    reach_a = (outline[pairs.anchors] @ np.ascontiguousarray(direction.transpose(2, 0, 1))).max(axis=1).T
    return np.maximum(distance - reach_t - reach_a, 0.0)


def _overlap(pairs: Pairs) -> Array:
    """(T, A) how far the centre of one lies inside the outline of the other, whichever is more; negative apart."""
    swapped = Pairs(pairs.layout, pairs.view, pairs.anchors, pairs.targets)
    return np.maximum(_inside_outline(pairs), _inside_outline(swapped).T)


def _inside_outline(pairs: Pairs) -> Array:
    """(T, A) how far the target's centre lies inside the anchor's outline; negative outside."""
    outline = pairs.layout.footprint[pairs.anchors]  # (A, K, 2), counter-clockwise in (g1, g2) as built
    edge = np.roll(outline, -1, axis=1) - outline
    length = np.linalg.norm(edge, axis=2)
    area = np.sum(
        outline[..., 0] * np.roll(outline[..., 1], -1, 1) - outline[..., 1] * np.roll(outline[..., 0], -1, 1), 1
    )
    turn = np.where(area >= 0, 1.0, -1.0)[:, None, None]
    inward = turn * np.stack((-edge[..., 1], edge[..., 0]), axis=2) / np.maximum(length, 1e-9)[..., None]
    real = length > 1e-9
    start = np.where(real, np.sum(outline * inward, axis=2), -np.inf)  # corners that coincide make no edge
    inward[~real] = 0.0
    depth = inward @ pairs.layout.centre[pairs.targets, :2].T  # (A, K, T)
    depth -= start[..., None]
    return depth.min(axis=1).T


def between(layout: Layout, targets: Indices, first: Indices, second: Indices) -> tuple[Array, Array]:
    """Between two anchors on the ground: (T, A, B) margins and deviations.

    The lesser of: how far the centre lies beyond the outlines of both anchors along the line between their centres,
    and how far it lies inside the double cone about that line (an angle of 120 degrees or more at the target, so that
    of three things at most one is between the others).
    """
    centre = layout.centre[:, :2]
    start, end = centre[first, None], centre[None, second]
    line = end - start  # (A, B, 2)
    length = np.linalg.norm(line, axis=2)
    unit = line / np.maximum(length, 1e-9)[..., None]
    offset = centre[targets, None, None] - start[None]  # (T, A, 1, 2)
    along = np.einsum("tabc,abc->tab", np.broadcast_to(offset, (len(targets), *line.shape)), unit)
    across = np.abs(np.einsum("tabc,abc->tab", np.broadcast_to(offset, (len(targets), *line.shape)),
                              np.stack((-unit[..., 1], unit[..., 0]), axis=2)))  # fmt: skip
    outline = layout.footprint - layout.centre[:, None, :2]
    reach_a = np.einsum("akc,abc->abk", outline[first], unit).max(axis=2)
    reach_b = -np.einsum("bkc,abc->abk", outline[second], unit).min(axis=2)
    beyond = np.minimum(along - reach_a[None], (length - reach_b)[None] - along)
    cone = _BETWEEN_SLOPE * np.minimum(along, length[None] - along) - across
    sigma = layout.sigma
    noise = np.sqrt(
        sigma[targets, None, None] ** 2
        + np.maximum(sigma[first, None], sigma[None, second])[None] ** 2
        + (layout.relation.size_blur * layout.reach[targets, None, None]) ** 2
    )
    return np.minimum(beyond, cone), noise


_BETWEEN_SLOPE = float(np.tan(np.radians(30.0)))

RELATIONS: dict[str, Measure] = {
    "left of": left_of,
    "right of": right_of,
    "in front of": in_front_of,
    "behind": behind,
    "on": on,
    "above": above,
    "below": below,
    "under": under,
    "inside": inside,
    "next to": next_to,
    "near": near,
    "far from": far_from,
}
"""Relations to one anchor, by canonical name. "between" takes two and stands apart."""
