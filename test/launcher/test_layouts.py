# SPDX-License-Identifier: Apache-2.0
"""Layouts for RViz and Foxglove, neither of which is run, have the form that their sources read, and fit the node.

RViz 2: ros2/rviz at f7112b1 (14.3.1). Foxglove: its open continuation, lichtblick-suite/lichtblick at 66adecb.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spatial_vlm_ros.launcher import plan
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.nodes.perception import health
from spatial_vlm_ros.parameters import Settings, settings_from

ROOT = Path(__file__).resolve().parents[2]
RVIZ = yaml.safe_load((ROOT / "config" / "spatial_vlm.rviz").read_text())
FOXGLOVE = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())

KNOWN = yaml.safe_load(Path(__file__).with_name("layouts.yaml").read_text(encoding="utf-8"))
DISPLAYS, FOXGLOVE_SETTINGS = KNOWN["rviz"]["displays"], KNOWN["foxglove"]["settings"]


def displays() -> list[dict[str, Any]]:
    return list(RVIZ["Visualization Manager"]["Displays"])


def test_rviz_finds_its_parts_where_it_looks_for_them() -> None:
    # visualization_frame.cpp:814-819; visualization_manager.cpp:526-543; display_group.cpp:96-104; 902-903 (panels)
    assert set(RVIZ) == {"Panels", "Visualization Manager", "Window Geometry"}
    manager = RVIZ["Visualization Manager"]
    assert {"Class", "Displays", "Global Options", "Tools", "Views"} <= set(manager)
    assert all({"Class", "Name"} <= set(panel) for panel in RVIZ["Panels"])
    assert all(tool["Class"].startswith("rviz_default_plugins/") for tool in manager["Tools"])
    assert {"Fixed Frame", "Frame Rate", "Background Color"} == set(manager["Global Options"])
    names = [display["Name"] for display in displays()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("display", displays(), ids=lambda display: str(display["Name"]))
def test_rviz_shows_topics_of_the_interface_with_displays_of_their_types(display: dict[str, Any]) -> None:
    kind = DISPLAYS[display["Class"]]
    assert set(display) - {"Class", "Name", "Enabled", "Topic"} <= set(KNOWN["rviz"]["properties"][display["Class"]])
    assert display["Enabled"] is True
    assert ("Topic" in display) == (kind is not None)
    if kind is None:
        return
    topic = display["Topic"]
    assert set(topic) <= set(KNOWN["rviz"]["topic"])
    for policy, words in KNOWN["rviz"]["qos"].items():
        assert topic[policy] in words
    assert topic["Depth"] >= 1


def test_rviz_colours_the_points_by_the_field_that_they_have() -> None:
    (points,) = (display for display in displays() if display["Class"].endswith("PointCloud2"))
    # point_cloud_transformer_factory.cpp:49, 61; rgb8_pc_transformer.cpp:42 asks for a field "rgb" or "rgba";
    # point_cloud_common.cpp:110-115
    assert (points["Position Transformer"], points["Color Transformer"]) == ("XYZ", "RGB8")
    assert points["Style"] in {"Points", "Squares", "Flat Squares", "Spheres", "Boxes", "Tiles"}


def test_rviz_in_a_namespace_hears_the_resolver_of_that_namespace() -> None:
    given = {"rviz": "true", "namespace": "left", "base_frame": "base_link"}
    (rviz,) = (p for p in plan.plan(ROOT / "launch" / "spatial_vlm.launch.py", given) if p.name == "rviz")
    shown = {str(display["Topic"]["Value"]) for display in displays() if "Topic" in display}
    assert dict(rviz.remappings) == {topic: topic.removeprefix("/") for topic in shown}


def test_everything_that_an_answer_has_in_space_is_in_both_layouts() -> None:
    wanted = {"/annotated/image", "/annotated/points", "/annotated/region", "/markers", "/target"}
    assert {display["Topic"]["Value"] for display in displays() if "Topic" in display} == wanted
    panels = FOXGLOVE["configById"]
    image = panels["Image!answer"]["imageMode"]["imageTopic"]
    assert {image, *panels["3D!space"]["topics"]} == wanted


def test_foxglove_finds_its_parts_where_it_looks_for_them() -> None:
    # packages/suite-base/src/context/CurrentLayoutContext/actions.ts:30-44
    assert set(FOXGLOVE) == {"configById", "layout", "globalVariables", "playbackConfig", "userNodes"}
    assert {name.partition("!")[0] for name in FOXGLOVE["configById"]} == set(KNOWN["foxglove"]["panels"])

    def parts(node: Any) -> Iterator[Any]:
        yield node
        if isinstance(node, dict):
            yield from parts(node["first"])
            yield from parts(node["second"])

    assert sorted(node for node in parts(FOXGLOVE["layout"]) if isinstance(node, str)) == sorted(FOXGLOVE["configById"])
    for node in parts(FOXGLOVE["layout"]):
        if isinstance(node, dict):  # react-mosaic-component's MosaicParent
            assert set(node) == {"direction", "first", "second", "splitPercentage"}
            assert node["direction"] in ("row", "column")
            assert 0 < node["splitPercentage"] < 100


def test_foxglove_draws_topics_of_the_interface_with_settings_of_their_types() -> None:
    space = FOXGLOVE["configById"]["3D!space"]
    # panels/ThreeDeeRender/IRenderer.ts:119-193
    known = {"cameraState", "followTf", "followMode", "scene", "publish", "transforms", "topics", "layers", "imageMode"}
    assert set(space) - {"foxglovePanelTitle"} <= known
    kinds = {shown["Topic"]["Value"]: DISPLAYS[shown["Class"]] for shown in displays() if "Topic" in shown}
    for topic, settings in space["topics"].items():
        assert set(settings) <= set(FOXGLOVE_SETTINGS[kinds[topic]])
        assert settings["visible"] is True  # pointExtensionUtils.ts:50: not shown unless it is said
    points = space["topics"]["/annotated/points"]
    assert points["colorMode"] in {"flat", "gradient", "colormap", "rgb", "rgba", "rgba-fields"}  # colorMode.ts:27
    # panels/Publish/types.ts:8-16
    known = {"topicName", "datatype", "buttonText", "buttonTooltip", "buttonColor", "advancedView", "value"}
    assert set(FOXGLOVE["configById"]["Publish!instruction"]) - {"foxglovePanelTitle"} == known


def test_rviz_and_foxglove_show_topics_of_the_node_with_their_types(graph: Any) -> None:
    graph.start()
    for topic in ("/annotated/image", "/annotated/points", "/annotated/region", "/diagnostics"):
        graph.until(lambda topic=topic: graph.node.count_publishers(topic), f"somebody publishes {topic}")
    graph.until(lambda: graph.node.count_subscribers("/instruction"), "somebody listens to /instruction")
    graph.until(lambda: "resolver" in graph.node.get_node_names(), "the resolver is known by its name")
    found = graph.node.get_publisher_names_and_types_by_node("resolver", "/")
    offered = {topic: types[0] for topic, types in found}
    taken = dict(graph.node.get_subscriber_names_and_types_by_node("resolver", "/"))
    shown = [display for display in displays() if "Topic" in display]
    assert len(shown) == 5
    for display in shown:
        asked, topic = display["Topic"], display["Topic"]["Value"]
        assert offered[topic] == str(DISPLAYS[display["Class"]]).replace("/", "/msg/")
        (publisher,) = graph.node.get_publishers_info_by_topic(topic)
        assert publisher.qos_profile.reliability.name == asked["Reliability Policy"].upper()
        assert publisher.qos_profile.durability.name == asked["Durability Policy"].upper()
    panels = FOXGLOVE["configById"]
    assert offered[panels["Image!answer"]["imageMode"]["imageTopic"]] == "sensor_msgs/msg/Image"
    assert set(panels["3D!space"]["topics"]) <= set(offered)
    assert panels["RawMessages!resolution"]["topicPath"] in offered
    assert offered[panels["DiagnosticSummary!health"]["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
    publish = panels["Publish!instruction"]
    assert taken[publish["topicName"]] == [publish["datatype"]]
    assert set(json.loads(publish["value"])) == {"data"}
    assert panels["DiagnosticSummary!health"]["hardwareIdFilter"] == health.HARDWARE


def test_the_parameter_file_is_read_back_as_the_defaults() -> None:
    values = yaml.safe_load((ROOT / "config" / "resolver.yaml").read_text())["/**"]["ros__parameters"]
    assert settings_from(values) == Settings()
    for name, (default, _) in parameters.declared().items():
        value: Any = values
        for part in name.split("."):
            value = value[part]
        assert type(value) is type(default), name


def test_the_aggregator_finds_the_resolvers_statuses() -> None:
    analyzer = yaml.safe_load((ROOT / "config" / "diagnostics.yaml").read_text())["analyzers"]["ros__parameters"]
    for full_name in ("resolver: streams", "left/resolver: transforms"):
        assert any(part in full_name for part in analyzer["resolver"]["contains"])
