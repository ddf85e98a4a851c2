# SPDX-License-Identifier: Apache-2.0
"""Parameters, RViz, Foxglove and diagnostics as they are shipped fit the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.nodes.perception import health
from spatial_vlm_ros.parameters import Settings, settings_from

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_parameter_file_is_read_back_as_the_defaults() -> None:
    values = yaml.safe_load((CONFIG / "resolver.yaml").read_text())["/**"]["ros__parameters"]
    assert settings_from(values) == Settings()
    for name, (default, _) in parameters.declared().items():
        value: Any = values
        for part in name.split("."):
            value = value[part]
        assert type(value) is type(default), name


def test_rviz_and_foxglove_show_topics_of_the_node_with_their_types(graph: Any) -> None:
    graph.start()
    for topic in ("/annotated/image", "/annotated/points", "/annotated/region", "/diagnostics"):
        graph.until(lambda topic=topic: graph.node.count_publishers(topic), f"somebody publishes {topic}")
    graph.until(lambda: graph.node.count_subscribers("/instruction"), "somebody listens to /instruction")
    graph.until(lambda: "resolver" in graph.node.get_node_names(), "the resolver is known by its name")
    found = graph.node.get_publisher_names_and_types_by_node("resolver", "/")
    offered = {topic: types[0] for topic, types in found}
    taken = dict(graph.node.get_subscriber_names_and_types_by_node("resolver", "/"))
    shows = {
        "PointCloud2": "sensor_msgs/msg/PointCloud2",
        "Image": "sensor_msgs/msg/Image",
        "MarkerArray": "visualization_msgs/msg/MarkerArray",
        "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    }
    rviz = yaml.safe_load((CONFIG / "spatial_vlm.rviz").read_text())["Visualization Manager"]
    with_topic = [display for display in rviz["Displays"] if "Topic" in display]
    shown = {display["Topic"]["Value"]: shows[display["Class"].partition("/")[2]] for display in with_topic}
    assert len(shown) == 5
    for topic, kind in shown.items():
        assert offered[topic] == kind
        (publisher,) = graph.node.get_publishers_info_by_topic(topic)
        asked = next(display["Topic"] for display in with_topic if display["Topic"]["Value"] == topic)
        assert publisher.qos_profile.reliability.name == asked["Reliability Policy"].upper()
        assert publisher.qos_profile.durability.name == asked["Durability Policy"].upper()
    panels = json.loads((CONFIG / "foxglove_layout.json").read_text())["configById"]
    assert offered[panels["Image!answer"]["imageMode"]["imageTopic"]] == "sensor_msgs/msg/Image"
    assert set(panels["3D!space"]["topics"]) <= set(offered)
    assert panels["RawMessages!resolution"]["topicPath"] in offered
    assert offered[panels["DiagnosticSummary!health"]["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
    publish = panels["Publish!instruction"]
    assert taken[publish["topicName"]] == [publish["datatype"]]
    assert set(json.loads(publish["value"])) == {"data"}
    assert panels["DiagnosticSummary!health"]["hardwareIdFilter"] == health.HARDWARE


def test_every_panel_of_foxglove_has_its_place() -> None:
    layout = json.loads((CONFIG / "foxglove_layout.json").read_text())

    def leaves(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else leaves(part["first"]) + leaves(part["second"])

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])


def test_the_aggregator_finds_the_resolvers_statuses() -> None:
    analyzer = yaml.safe_load((CONFIG / "diagnostics.yaml").read_text())["analyzers"]["ros__parameters"]
    for full_name in ("resolver: streams", "left/resolver: transforms"):
        assert any(part in full_name for part in analyzer["resolver"]["contains"])
