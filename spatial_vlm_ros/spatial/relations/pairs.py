# SPDX-License-Identifier: Apache-2.0
"""Pairs of targets and anchors, and the basic quantities of relations.

Everything is measured in the ground coordinates of layout.py, for T targets and A anchors at once; arrays are (T, A).
Outlines are convex: they are described by their extent along a direction, and a place lies as far inside an outline as
inside the nearest of its edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations.resting import Resting, resting

Indices = npt.NDArray[np.intp]
Measured = tuple[Array, Array]
"""Margins in metres, positive = holds, NaN = not measured; and their standard deviations, metres."""

SAME_PLACE = 1e-9
"""Metres below which the line between two places has no direction."""
_NO_SIGMA = 1e-12


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of targets and anchors."""

    layout: Layout
    view: Viewpoint
    targets: Indices  # (T,) rows
    anchors: Indices  # (A,) rows

    def exchanged(self) -> Pairs:
        """Swap targets and anchors."""
        return Pairs(self.layout, self.view, self.anchors, self.targets)

    @cached_property
    def rays(self) -> tuple[Array, Array]:
        """(A, 2) unit directions ahead of, and to the right of, each anchor, on the ground."""
        return self.layout.rays(self.view, self.anchors)

    @cached_property
    def offset(self) -> tuple[Array, Array]:
        """Offset from anchor centre to target centre, metres: (T, A) along g1, and (T, A) along g2."""
        x, y = self.layout.centre[:, 0], self.layout.centre[:, 1]
        return x[self.targets, None] - x[self.anchors], y[self.targets, None] - y[self.anchors]

    @cached_property
    def distance(self) -> Array:
        """(T, A) metres on the ground between centres."""
        x, y = self.offset
        return np.sqrt(x * x + y * y)

    def difference(self, of_targets: Array, of_anchors: Array) -> Array:
        """(T, A) difference of two (N,) quantities: the first of the targets minus the second of the anchors."""
        return of_targets[self.targets, None] - of_anchors[self.anchors]

    def mean(self, values: Array) -> Array:
        """(T, A) mean of target's and anchor's (N,) values."""
        return (values[self.targets, None] + values[self.anchors]) / 2

    @cached_property
    def noise(self) -> Array:
        """(T, A) standard deviation of a distance between two objects on the ground, metres.

        From depth noise, a fraction of the smaller size, and the effect of a wrong "up" on their height difference.
        """
        return self._noise(self.layout.mean_side, self.layout.sigma, self._height)

    @cached_property
    def noise_up(self) -> Array:
        """(T, A) standard deviation of a height difference, metres: as `noise`, but "up" acts on their distance."""
        return self._noise(self.layout.size[:, 2], self.layout.sigma_up, self.distance)

    @cached_property
    def noise_seen(self) -> Array:
        """(T, A) standard deviation of a distance between visible sides, metres: `noise` without the hidden parts."""
        return self._noise(self.layout.mean_side, self.layout.noise, self._height)

    @cached_property
    def _height(self) -> Array:
        """(T, A) height of the target centre over the anchor centre, metres."""
        return self.difference(self.layout.centre[:, 2], self.layout.centre[:, 2])

    @cached_property
    def resting(self) -> Resting:
        """Visible surfaces of the anchors directly beneath and over the targets."""
        return resting(self.layout, self.targets, self.anchors, self.inside_anchor)

    @cached_property
    def contact(self) -> Array:
        """(T, A) gap that still counts as contact, metres: noise and guessed outlines may have opened it."""
        return self.layout.relation.contact + 2.0 * self.noise_seen

    @cached_property
    def contact_up(self) -> Array:
        """(T, A) the same for heights, metres."""
        return self.layout.relation.contact + 2.0 * self._noise(self.layout.size[:, 2], self.layout.noise, None)

    def _noise(self, size: Array, sigma: Array, lever: Array | None) -> Array:
        """(T, A) noise from sizes and deviations (N,), and from the length (T, A) on which the tilt of "up" acts."""
        blur = np.minimum(size[self.targets, None], size[self.anchors])
        blur *= self.layout.relation.size_blur
        blur *= blur
        blur += (sigma**2)[self.targets, None] + (sigma**2)[self.anchors]
        if lever is not None:
            blur += (self.layout.tilt * lever) ** 2
        return np.sqrt(blur, out=blur)

    def along(self, directions: Array) -> Array:
        """(T, A) metres from anchor centre to target centre along (A, 2) directions."""
        x, y = self.offset
        return x * directions[:, 0] + y * directions[:, 1]

    def target_span(self, directions: Array) -> tuple[Array, Array]:
        """Begin and end of the targets' outlines along (A, 2) directions: (T, A) each, metres."""
        reach = self.layout.footprint[self.targets] @ directions.T  # (T, K, A)
        return reach.min(axis=1), reach.max(axis=1)

    def target_begin(self, directions: Array) -> Array:
        """(T, A) begin of the targets' outlines along (A, 2) directions, metres."""
        return np.asarray((self.layout.footprint[self.targets] @ directions.T).min(axis=1))

    def anchor_span(self, directions: Array) -> tuple[Array, Array]:
        """Begin and end of each anchor's outline along its own direction of (A, 2): (A,) each, metres."""
        x, y = self.layout.corners[:, :, self.anchors]
        reach = x * directions[:, 0] + y * directions[:, 1]
        return reach.min(axis=0), reach.max(axis=0)

    @cached_property
    def gap(self) -> Array:
        """(T, A) gap between the outlines along the line between their centres, metres; 0 if they overlap."""
        begins = (self.layout.reaches[:, self.targets] @ self._places(self.anchors).T).max(axis=0)
        ends = (self._places(self.targets) @ self.layout.reaches[:, self.anchors].transpose(0, 2, 1)).max(axis=0)
        gap = begins
        gap += ends
        gap /= np.maximum(self.distance, SAME_PLACE)
        np.subtract(self.distance, gap, out=gap)
        return np.maximum(gap, 0.0, out=gap)

    @cached_property
    def vertical_gap(self) -> Array:
        """(T, A) gap between the lower one's top and the upper one's bottom, metres; negative if they overlap."""
        bottom, top = self.layout.bottom, self.layout.top
        over, under = self.difference(bottom, top), -self.difference(top, bottom)
        return np.maximum(over, under, out=over)

    @cached_property
    def space(self) -> Array:
        """(T, A) combination of the gap on the ground and the vertical gap, metres."""
        return hypotenuse(self.gap, np.maximum(self.vertical_gap, 0.0))

    @cached_property
    def inside_anchor(self) -> Array:
        """(T, A) depth of the target's centre inside the anchor's outline, metres; negative outside."""
        layout = self.layout
        depth = (self._places(self.targets) @ layout.edges[:, self.anchors].transpose(0, 2, 1)).min(axis=0)
        # If an outline is as thin as a line, its edges do not tell how far along it a place is.
        return np.minimum(depth, layout.radius[self.anchors] - self.distance)

    @cached_property
    def inside_target(self) -> Array:
        """(T, A) depth of the anchor's centre inside the target's outline, metres; negative outside."""
        layout = self.layout
        depth = (layout.edges[:, self.targets] @ self._places(self.anchors).T).min(axis=0)
        return np.minimum(depth, layout.radius[self.targets, None] - self.distance)

    def _places(self, rows: Indices) -> Array:
        """(R, 3) centres on the ground and 1, for products with `Layout.edges` and `Layout.reaches`."""
        return np.concatenate((self.layout.centre[rows, :2], np.ones((len(rows), 1))), axis=1)

    @cached_property
    def overlap(self) -> Array:
        """(T, A) depth of one centre inside the other's outline, metres, whichever is more; negative if apart."""
        return np.maximum(self.inside_anchor, self.inside_target)

    def only_apart(self, margin: Array) -> Array:
        """(T, A) a margin in metres, negative for targets on, in, over or under an anchor.

        The ball in the left of a box is not left of it. Most pairs are too far apart to compute their overlap.
        """
        layout = self.layout
        found = np.zeros(self.distance.shape)
        within = np.maximum(layout.radius[self.targets, None], layout.radius[self.anchors])
        t, a = np.nonzero(self.distance < within)
        target, anchor = self.targets[t], self.anchors[a]
        for place, outline in ((target, anchor), (anchor, target)):
            depth = np.einsum("pc,kpc->kp", self._places(place), layout.edges[:, outline])
            deep = np.minimum(depth.min(axis=0), layout.radius[outline] - self.distance[t, a])
            found[t, a] = np.maximum(found[t, a], deep)
        return np.where(found > 0, np.minimum(margin, -found), margin)


Measure = Callable[[Pairs], Measured]


def hypotenuse(one: Array, other: Array) -> Array:
    """Length from two legs, metres; np.hypot guards against overflow, and takes several times as long."""
    return np.asarray(np.sqrt(one * one + other * other))


def least_sure(first: Measured, *others: Measured) -> Measured:
    """The least of several margins; its certainty is that of the smallest margin in standard deviations."""
    margin, sigma = first
    times = margin / np.maximum(sigma, _NO_SIGMA)
    for other, deviation in others:
        margin = np.minimum(margin, other)
        times = np.minimum(times, other / np.maximum(deviation, _NO_SIGMA))
    return margin, np.divide(margin, times, out=sigma.copy(), where=times != 0)


def least(first: Array, *others: Array) -> Array:
    """Elementwise minimum of several arrays of one shape; the first array is overwritten."""
    for other in others:
        np.minimum(first, other, out=first)
    return first
