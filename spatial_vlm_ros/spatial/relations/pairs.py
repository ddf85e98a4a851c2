# SPDX-License-Identifier: Apache-2.0
"""What relations are asked about, and the few quantities that they are made of.

Everything is measured on the ground coordinates of layout.py, for T targets and A anchors at once; arrays are (T, A).
Outlines are convex, so they are known by how far they reach along a direction, and a place lies as far inside one as it
lies inside the nearest of its edges.
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

    def exchanged(self) -> Pairs:
        """The anchors as targets and the targets as anchors."""
        return Pairs(self.layout, self.view, self.anchors, self.targets)

    @cached_property
    def rays(self) -> tuple[Array, Array]:
        """(A, 2) unit directions ahead at each anchor, and to its right."""
        return self.layout.rays(self.view, self.anchors)

    @cached_property
    def offset(self) -> tuple[Array, Array]:
        """From anchor centre to target centre: (T, A) along g1, and along g2."""
        x, y = self.layout.centre[:, 0], self.layout.centre[:, 1]
        return x[self.targets, None] - x[self.anchors], y[self.targets, None] - y[self.anchors]

    @cached_property
    def distance(self) -> Array:
        """(T, A) metres on the ground between centres."""
        x, y = self.offset
        return np.sqrt(x * x + y * y)

    def difference(self, of_targets: Array, of_anchors: Array) -> Array:
        """(T, A) of two (N,) quantities: the first one's of the targets minus the second one's of the anchors."""
        return of_targets[self.targets, None] - of_anchors[self.anchors]

    def mean(self, values: Array) -> Array:
        """(T, A) mean of target's and anchor's (N,) values."""
        return (values[self.targets, None] + values[self.anchors]) / 2

    @cached_property
    def noise(self) -> Array:
        """(T, A) standard deviation of a distance between two objects on the ground, metres.

        Depth noise, a part of the smaller size, and what a wrong "up" would make of their difference in height.
        """
        return self._noise(self.layout.mean_side, self.layout.sigma, self._height)

    @cached_property
    def noise_up(self) -> Array:
        """(T, A) standard deviation of a difference of heights: as `noise`, but "up" turns their distance into it."""
        return self._noise(self.layout.size[:, 2], self.layout.sigma_up, self.distance)

    @cached_property
    def noise_seen(self) -> Array:
        """(T, A) standard deviation of a distance between sides that are seen: `noise` without what may be hidden."""
        return self._noise(self.layout.mean_side, self.layout.noise, self._height)

    @cached_property
    def _height(self) -> Array:
        """(T, A) from anchor centre to target centre, along up."""
        return self.difference(self.layout.centre[:, 2], self.layout.centre[:, 2])

    @cached_property
    def resting(self) -> Resting:
        """What is seen of the anchors directly beneath the targets and over them."""
        return resting(self.layout, self.targets, self.anchors, self.inside_anchor)

    @cached_property
    def contact(self) -> Array:
        """(T, A) gap that still counts as contact, metres: noise and guessed outlines may have opened it."""
        return self.layout.relation.contact + 2.0 * self.noise_seen

    @cached_property
    def contact_up(self) -> Array:
        """(T, A) the same of heights."""
        return self.layout.relation.contact + 2.0 * self._noise(self.layout.size[:, 2], self.layout.noise, None)

    def _noise(self, size: Array, sigma: Array, lever: Array | None) -> Array:
        """By sizes and deviations (N,); and by the length (T, A) at whose end the tilt of "up" moves an object."""
        blur = np.minimum(size[self.targets, None], size[self.anchors])
        blur *= self.layout.relation.size_blur
        blur *= blur
        blur += (sigma**2)[self.targets, None] + (sigma**2)[self.anchors]
        if lever is not None:
            blur += (self.layout.tilt * lever) ** 2
        return np.sqrt(blur, out=blur)

    def along(self, directions: Array) -> Array:
        """(T, A) from anchor centre to target centre along (A, 2) directions."""
        x, y = self.offset
        return x * directions[:, 0] + y * directions[:, 1]

    def target_span(self, directions: Array) -> tuple[Array, Array]:
        """Where the targets' outlines begin and end along (A, 2) directions: (T, A) each."""
        reach = self.layout.footprint[self.targets] @ directions.T  # (T, K, A)
        return reach.min(axis=1), reach.max(axis=1)

    def target_begin(self, directions: Array) -> Array:
        """(T, A) where the targets' outlines begin along (A, 2) directions."""
        return np.asarray((self.layout.footprint[self.targets] @ directions.T).min(axis=1))

    def anchor_span(self, directions: Array) -> tuple[Array, Array]:
        """Where each anchor's outline begins and ends along its own direction of (A, 2): (A,) each."""
        x, y = self.layout.corners[:, :, self.anchors]
        reach = x * directions[:, 0] + y * directions[:, 1]
        return reach.min(axis=0), reach.max(axis=0)

    @cached_property
    def gap(self) -> Array:
        """(T, A) between the outlines along the line between their centres, on the ground; 0 where they overlap."""
        begins = (self.layout.reaches[:, self.targets] @ self._places(self.anchors).T).max(axis=0)
        ends = (self._places(self.targets) @ self.layout.reaches[:, self.anchors].transpose(0, 2, 1)).max(axis=0)
        gap = begins
        gap += ends
        gap /= np.maximum(self.distance, SAME_PLACE)
        np.subtract(self.distance, gap, out=gap)
        return np.maximum(gap, 0.0, out=gap)

    @cached_property
    def vertical_gap(self) -> Array:
        """(T, A) between the lower one's top and the upper one's bottom; negative where their heights overlap."""
        bottom, top = self.layout.bottom, self.layout.top
        over, under = self.difference(bottom, top), -self.difference(top, bottom)
        return np.maximum(over, under, out=over)

    @cached_property
    def space(self) -> Array:
        """(T, A) the gap on the ground and the vertical one taken together."""
        return hypotenuse(self.gap, np.maximum(self.vertical_gap, 0.0))

    @cached_property
    def inside_anchor(self) -> Array:
        """(T, A) how far the target's centre lies inside the anchor's outline; negative outside."""
        layout = self.layout
        depth = (self._places(self.targets) @ layout.edges[:, self.anchors].transpose(0, 2, 1)).min(axis=0)
        # Of an outline as thin as a line its edges say nothing about how far along it a place is.
        return np.minimum(depth, layout.radius[self.anchors] - self.distance)

    @cached_property
    def inside_target(self) -> Array:
        """(T, A) how far the anchor's centre lies inside the target's outline; negative outside."""
        layout = self.layout
        depth = (layout.edges[:, self.targets] @ self._places(self.anchors).T).min(axis=0)
        return np.minimum(depth, layout.radius[self.targets, None] - self.distance)

    def _places(self, rows: Indices) -> Array:
        """(R, 3) centres on the ground and 1, for products with `Layout.edges` and `Layout.reaches`."""
        return np.concatenate((self.layout.centre[rows, :2], np.ones((len(rows), 1))), axis=1)

    @cached_property
    def overlap(self) -> Array:
        """(T, A) how far the centre of one lies inside the outline of the other, whichever is more; negative apart."""
        return np.maximum(self.inside_anchor, self.inside_target)

    def overlap_or_none(self) -> Array:
        """(T, A) as `overlap` where it is positive, else 0: most pairs are too far apart to be looked at."""
        layout = self.layout
        found = np.zeros(self.distance.shape)
        within = np.maximum(layout.radius[self.targets, None], layout.radius[self.anchors])
        t, a = np.nonzero(self.distance < within)
        target, anchor = self.targets[t], self.anchors[a]
        for place, outline in ((target, anchor), (anchor, target)):
            depth = np.einsum("pc,kpc->kp", self._places(place), layout.edges[:, outline])
            deep = np.minimum(depth.min(axis=0), layout.radius[outline] - self.distance[t, a])
            found[t, a] = np.maximum(found[t, a], deep)
        return found


Measure = Callable[[Pairs], Measured]


def hypotenuse(one: Array, other: Array) -> Array:
    """Of two legs of metres; np.hypot guards against overflow, and takes several times as long."""
    return np.asarray(np.sqrt(one * one + other * other))


def least_sure(first: Measured, *others: Measured) -> Measured:
    """The least of several margins, no surer than the one of least margin in standard deviations."""
    margin, sigma = first
    times = margin / np.maximum(sigma, _NO_SIGMA)
    for other, deviation in others:
        margin = np.minimum(margin, other)
        times = np.minimum(times, other / np.maximum(deviation, _NO_SIGMA))
    return margin, np.divide(margin, times, out=sigma.copy(), where=times != 0)


def least(first: Array, *others: Array) -> Array:
    """The least of several arrays of one shape; the first one's memory is used."""
    for other in others:
        np.minimum(first, other, out=first)
    return first
