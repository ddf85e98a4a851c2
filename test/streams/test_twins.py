# SPDX-License-Identifier: Apache-2.0
"""What exists twice in the graph is named with everyone involved; what is right is not."""

from __future__ import annotations

from spatial_vlm_ros.streams.twins import full_name, twins_of


def test_one_of_each_is_right() -> None:
    publishers = {"/rgb/image": ["/camera"], "/depth/image": ["/camera"], "/detections": []}
    assert twins_of(publishers, {"/resolve": ["/resolver"]}, ["/resolver", "/camera"], "/resolver") == []
    assert (full_name("/", "camera"), full_name("/left", "camera")) == ("/camera", "/left/camera")


def test_two_drivers_two_servers_and_two_resolvers_are_named() -> None:
    publishers = {"/rgb/image": ["/right/camera", "/left/camera"], "/depth/image": ["/camera", "/camera"]}
    servers = {"/resolve": ["/resolver", "/resolver"]}
    rgb, depth, action, node = twins_of(publishers, servers, ["/resolver", "/camera", "/resolver"], "/resolver")
    assert rgb.who == ("/left/camera", "/right/camera")
    assert "2 publishers on /rgb/image: /left/camera, /right/camera" in rgb.found
    assert "/camera (2 times)" in depth.found
    assert (action.where, node.where) == ("/resolve", "/resolver")
    assert "2 nodes are named /resolver" in node.found
    assert all(twin.repair for twin in (rgb, depth, action, node))
