# SPDX-License-Identifier: Apache-2.0
"""examples/isaac/scene.py without Isaac Sim: the stage by plain USD, the graph by the names of Isaac Sim's sources."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tables import example

from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.launcher.gazebo import camera_mount
from spatial_vlm_ros.sim.settled import demo_camera, story
from spatial_vlm_ros.sim.tabletop import VGA

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "worlds" / "chicks.sdf"
OBJECTS = {obj.id: obj for obj in story()[0]}
KINDS = {None: type(None), "str": str, "bool": bool, "int": int, "list": list}
KNOWN = yaml.safe_load(Path(__file__).with_name("isaac_nodes.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scene() -> Any:
    return example("isaac/scene.py")


@pytest.fixture(scope="module")
def stage(scene: Any) -> Any:
    usd = pytest.importorskip("pxr.Usd")
    made = usd.Stage.CreateInMemory()
    scene.build_stage(made, scene.read_objects(WORLD), camera_mount(WORLD), scene.read_lens(WORLD))
    return made


def test_the_graph_has_only_nodes_inputs_and_outputs_that_isaac_sim_has(scene: Any) -> None:
    graph = scene.camera_graph(camera_mount(WORLD), scene.read_lens(WORLD), "base_link")
    kinds = dict(graph.nodes)
    assert len(kinds) == len(graph.nodes)
    assert set(kinds.values()) == set(KNOWN)
    for target, value in graph.values:
        node, _, port = target.partition(".")
        assert isinstance(value, KINDS[KNOWN[kinds[node]][port]]), target
    for source, target in graph.connections:
        assert source.partition(".")[2] in KNOWN[kinds[source.partition(".")[0]]], source
        assert target.partition(".")[2] in KNOWN[kinds[target.partition(".")[0]]], target
    fed = {target for _, target in graph.connections}
    for node, kind in graph.nodes:
        assert "inputs:execIn" not in KNOWN[kind] or f"{node}.inputs:execIn" in fed, node


def test_the_topics_are_those_of_the_preset_and_carry_the_optical_frame(scene: Any) -> None:
    values = dict(scene.camera_graph(camera_mount(WORLD), scene.read_lens(WORLD), "odom").values)
    said = {"camera": "isaac_sim", "camera_file": "", "camera_namespace": "", "camera_name": ""}
    heard = wiring.camera(ROOT, said).topics
    for node, role in (("Rgb", "rgb/image"), ("Depth", "depth/image"), ("Info", "rgb/camera_info")):
        assert heard[role] == f"/{values[f'{node}.inputs:topicName']}"
        assert values[f"{node}.inputs:frameId"] == demo_camera().child
    assert values["Mount.inputs:parentFrameId"] == "odom"
    assert values["Mount.inputs:translation"] == pytest.approx(list(demo_camera().translation), abs=1e-5)
    assert np.linalg.norm(values["Mount.inputs:rotation"]) == pytest.approx(1)


def matrix_of(stage: Any, path: str) -> Any:
    """(4, 4) pose on the stage, columns as usual (USD writes rows)."""
    geom = pytest.importorskip("pxr.UsdGeom")
    prim = stage.GetPrimAtPath(path)
    assert prim, path
    return np.array(geom.XformCache().GetLocalToWorldTransform(prim)).T


def test_the_camera_looks_along_the_optical_axis_with_the_same_lens(stage: Any, scene: Any) -> None:
    matrix, expected = matrix_of(stage, scene.CAMERA), demo_camera()
    assert matrix[:3, 3] == pytest.approx(expected.translation, abs=1e-5)
    right, down, forward = expected.rotation.T
    assert matrix[:3, 0] == pytest.approx(right, abs=1e-4)  # USD: x right, y up, -z forward
    assert matrix[:3, 1] == pytest.approx(-down, abs=1e-4)
    assert matrix[:3, 2] == pytest.approx(-forward, abs=1e-4)
    geom = pytest.importorskip("pxr.UsdGeom")
    camera = geom.Camera(stage.GetPrimAtPath(scene.CAMERA))
    across, high = camera.GetHorizontalApertureAttr().Get(), camera.GetVerticalApertureAttr().Get()
    assert camera.GetFocalLengthAttr().Get() / across * VGA.width == pytest.approx(VGA.K[0, 0], abs=0.01)
    assert high / across == pytest.approx(VGA.height / VGA.width)
    assert geom.GetStageUpAxis(stage) == "Z"
    assert geom.GetStageMetersPerUnit(stage) == 1.0


@pytest.mark.parametrize("id_", OBJECTS)
def test_an_object_stands_where_it_does_and_is_painted_and_heavy(stage: Any, id_: str) -> None:
    geom, physics = pytest.importorskip("pxr.UsdGeom"), pytest.importorskip("pxr.UsdPhysics")
    obj = OBJECTS[id_]
    prim = stage.GetPrimAtPath(f"/World/{id_}")
    matrix = matrix_of(stage, f"/World/{id_}")
    assert matrix[:3, 3] == pytest.approx(obj.position, abs=1e-5)
    assert np.arctan2(matrix[1, 0], matrix[0, 0]) == pytest.approx(obj.yaw, abs=1e-5)
    assert prim.HasAPI(physics.RigidBodyAPI)
    assert physics.MassAPI(prim).GetMassAttr().Get() == pytest.approx(obj.model.mass, abs=1e-5)
    grip = physics.MaterialAPI(stage.GetPrimAtPath(f"/World/{id_}/grip"))
    assert grip.GetDynamicFrictionAttr().Get() == pytest.approx(obj.model.friction)
    parts = [child for child in prim.GetChildren() if child.IsA(geom.Mesh)]
    assert len(parts) == len(obj.model.parts)
    for child, part in zip(parts, obj.model.parts, strict=True):
        mesh = geom.Mesh(child)
        assert np.array(mesh.GetPointsAttr().Get()) == pytest.approx(part.mesh.vertices, abs=6e-6)
        indices, counts = mesh.GetFaceVertexIndicesAttr().Get(), mesh.GetFaceVertexCountsAttr().Get()
        assert mesh.ValidateTopology(indices, counts, len(part.mesh.vertices))
    colliding = [child for child in prim.GetChildren() if child.HasAPI(physics.CollisionAPI)]
    assert colliding
    assert all(geom.Imageable(child).GetPurposeAttr().Get() == "guide" for child in colliding)


def test_the_table_stands_still_and_its_top_carries_the_objects(stage: Any) -> None:
    geom, physics = pytest.importorskip("pxr.UsdGeom"), pytest.importorskip("pxr.UsdPhysics")
    table = stage.GetPrimAtPath("/World/table")
    assert not table.HasAPI(physics.RigidBodyAPI)
    box = geom.BBoxCache(0, [geom.Tokens.default_]).ComputeWorldBound(table).ComputeAlignedRange()
    assert box.GetMax()[2] == pytest.approx(0.1, abs=1e-5)
    assert all(0 < obj.position[2] - box.GetMax()[2] < 0.01 for obj in OBJECTS.values())
    assert all(child.HasAPI(physics.CollisionAPI) for child in table.GetChildren())
