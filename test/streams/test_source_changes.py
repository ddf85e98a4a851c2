# SPDX-License-Identifier: Apache-2.0
"""Who publishes what: bound when a goal begins; by messages, or by the graph where they do not name their publisher."""

import time
from typing import Any

import pytest

from spatial_vlm_ros.streams.sources import TF, Sources

IMAGE = "/image"


class Graph:
    def __init__(self, gids: bool = True) -> None:
        self.nodes: dict[str, dict[bytes, str]] = {IMAGE: {b"camera": "/camera"}, TF: {b"state": "/state"}}
        self.sources, self.gids = Sources(lambda topic: {**self.nodes.get(topic, {})}, ["/clock"]), gids
        self.says(b"camera")
        self.says(b"state", hand=("base", 1))
        self.sources.begin([IMAGE])

    def says(self, gid: bytes, **frames: Any) -> None:
        info = {"publisher_gid": {"data": gid + bytes(4)}} if self.gids else {}
        self.sources.heard(TF if frames else IMAGE, info, frames or {"": None})

    def changed(self, *used: str) -> str:
        error = self.sources.changed(lambda: used)
        return error.reason if error else ""


def test_a_driver_that_is_replaced_between_goals_is_the_new_source_and_in_mid_goal_another_one() -> None:
    graph = Graph()
    graph.nodes[IMAGE] = {b"again": "/camera"}
    graph.sources.begin([IMAGE])
    graph.says(b"again")
    assert graph.changed() == ""
    graph.nodes[IMAGE] = {b"third": "/other"}
    graph.says(b"third")
    assert graph.changed() == "/image now comes from /other; when the goal began, it came from /camera"


def test_a_killed_driver_that_the_graph_still_shows_is_not_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph()
    graph.nodes[IMAGE][b"again"] = "/camera"
    graph.says(b"again")
    (mixed,) = graph.sources.begin([IMAGE])
    assert mixed.reason == "/image has 2 publishers: /camera, /camera; their messages are mixed"
    later = time.monotonic() + 3.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    graph.says(b"again")
    graph.sources.begin([IMAGE])
    graph.says(b"again")
    assert graph.changed() == ""
    graph.says(b"camera")  # it was only silent
    assert "/image now comes from /camera" in graph.changed()


@pytest.mark.parametrize("gone", [False, True])
def test_a_static_frame_has_one_value_until_its_publisher_says_it_again(gone: bool) -> None:
    graph = Graph()
    graph.nodes[TF][b"other"] = "/other"
    graph.says(b"other", hand=("base", 1), shelf=("base", 7), wheel=None)
    assert graph.changed("hand", "shelf") == ""
    graph.says(b"other", hand=("base", 2))
    assert "'hand' on /tf now comes from /other" in graph.changed("hand")
    assert graph.changed("shelf") == ""  # the answer does not need the hand
    if gone:
        del graph.nodes[TF][b"other"]
    graph.sources.begin([IMAGE])
    assert "'hand' on /tf has 2 publishers" in graph.changed("hand")
    graph.says(b"state", hand=("base", 1))
    graph.sources.begin([IMAGE])
    assert ("has 2 publishers" in graph.changed("hand")) is not gone


def test_what_a_node_said_that_has_gone_before_the_goal_is_not_believed() -> None:
    graph = Graph()
    graph.says(b"stranger", hand=None)  # it moves what stood still, and is not sent again
    graph.sources.begin([IMAGE])
    assert (
        graph.changed("hand")
        == "'hand' on /tf has 2 publishers: /state, a node that has gone; their messages are mixed"
    )
    graph.says(b"state", hand=("base", 1))
    assert graph.sources.begin([IMAGE]) == []


def test_without_gids_the_graph_tells_newcomers_and_static_values_are_compared() -> None:
    graph = Graph(gids=False)
    assert (graph.sources.names_messages, graph.changed()) == (False, "")
    graph.nodes["/clock"] = {b"clock": "/simulator"}
    assert graph.changed() == ""  # the first one
    graph.nodes["/clock"][b"second"] = "/stranger"
    assert "/clock now comes from /stranger" in graph.changed()
    graph.sources.begin([IMAGE])
    graph.says(b"second", hand=("base", 2))
    assert "'hand' on /tf" in graph.changed("hand")
