# SPDX-License-Identifier: Apache-2.0
"""Policies of SROS2: who may do what, by the nodes of each launch file; their schema; the keystore."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from test_launch_files import FILES, NEEDED, ROOT

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.launcher import plan
from spatial_vlm_ros.launcher.enclaves import policy

GIVEN = {**{name: NEEDED.get(name, {}) for name in FILES}, "sim_arm": {"namespace": "cell"},
         "pick": {"robot": "ur5e_robotiq", "camera": "realsense", "plan_only": "false"}}  # fmt: skip
FOLLOW = "/scaled_joint_trajectory_controller/follow_joint_trajectory"


def rights(text: str) -> dict[str, dict[str, set[str]]]:
    """Enclave → right → names."""
    found: dict[str, dict[str, set[str]]] = {}
    for enclave in ElementTree.fromstring(text).iter("enclave"):  # noqa: S314
        kinds = found[enclave.attrib["path"].removeprefix("/spatial_vlm_ros")] = dict[str, set[str]]()
        for entry in enclave.iterfind("profiles/profile/*"):
            (right,) = entry.attrib
            kinds.setdefault(right, set()).update(str(name.text) for name in entry)
    return found


def who(found: dict[str, dict[str, set[str]]], right: str, name: str) -> set[str]:
    return {enclave.strip("/") for enclave, kinds in found.items() if name in kinds.get(right, ())}


def test_on_a_robot_each_may_do_what_it_needs_under_the_names_of_camera_and_robot() -> None:
    found = rights(policy(plan.plan(FILES["pick"], GIVEN["pick"])))
    everyone = {"resolver", "planner_gate", "operator", "anyone"}
    assert {enclave.strip("/") for enclave in found} == everyone
    assert who(found, "request", "/approve") == {"operator"}
    assert who(found, "subscribe", "/proposal") == {"operator"}
    assert who(found, "request", "/stop") == everyone
    assert who(found, "reply", "/stop") == who(found, "reply", "/approve") == {"planner_gate"}
    for right, name in (
        ("call", "/execute_trajectory"), ("request", f"{FOLLOW}/_action/cancel_goal"),
        ("publish", "/trajectory_execution_event"), ("publish", "/execute_trajectory/gate"),
    ):  # fmt: skip
        assert who(found, right, name) == {"planner_gate"}, name
    image = "/camera/camera/color/image_raw"
    assert (who(found, "subscribe", image), who(found, "publish", image)) == ({"resolver"}, set())
    for name in ("/detections", "/tf", "/tf_static", "/robot_description"):
        assert not who(found, "publish", name), name
    for name in ("set_parameters", "set_parameters_atomically"):
        assert not who(found, "request", f"/planner_gate/{name}"), name
    assert found["/anyone"]["request"] == {"/stop"}
    assert not {"call", "execute", "subscribe"} & {*found["/anyone"]}


def test_the_namespace_and_the_parameter_file_count_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "resolver.yaml"
    file.write_text("/**: {ros__parameters: {imu: true, decision: {taught: known.npz}}}")
    given = {"namespace": "cell", "params_file": str(file)}
    found = rights(policy(plan.plan(FILES["spatial_vlm"], given)))
    assert who(found, "subscribe", "/cell/imu") == who(found, "reply", "/cell/teach") == {"cell/resolver"}
    assert who(found, "request", "/cell/approve") == {"cell/operator"}
    file.write_text("/**: {parameters: {imu: true}}")
    with pytest.raises(FileError, match="ros__parameters"):
        policy(plan.plan(FILES["spatial_vlm"], given))


@pytest.mark.parametrize("name", FILES)
def test_processes_are_started_in_the_enclaves_of_their_policy(name: str) -> None:
    processes = [each for each in plan.plan(FILES[name], GIVEN[name]) if each.package == plan.PACKAGE]
    started = [each.ros_arguments[each.ros_arguments.index("--enclave") + 1] for each in processes]
    written = [f"/spatial_vlm_ros{path}" for path in rights(policy(processes))]
    assert written[:-2] == started


@pytest.mark.parametrize("name", FILES)
def test_a_policy_has_the_form_of_sros2_and_becomes_permissions_of_dds(name: str, tmp_path: Path) -> None:
    policies = pytest.importorskip("sros2.policy", reason="sros2 is not installed: ros-$ROS_DISTRO-sros2")
    from lxml import etree

    path = tmp_path / "policy.xml"
    path.write_text(policy(plan.plan(FILES[name], GIVEN[name])))
    read = policies.load_policy(path)  # checks it by sros2's schema
    made = etree.XSLT(etree.parse(str(policies.get_transport_template("dds", "permissions.xsl"))))(read)
    etree.XMLSchema(etree.parse(str(policies.get_transport_schema("dds", "permissions.xsd")))).assertValid(made)
    assert len(made.findall("permissions/grant")) == len(rights(path.read_text()))


@pytest.mark.live
def test_the_keystore_has_an_enclave_with_permissions_for_each_process_and_keeps_keys(tmp_path: Path) -> None:
    """`ros2 security` is one that writes down what it is told."""
    told, ros2, keys = tmp_path / "told", tmp_path / "ros2", tmp_path / "keys"
    ros2.write_text(f'#!/bin/sh\necho "$2 $4" >> {told}\n')
    ros2.chmod(0o755)
    own = keys / "enclaves/spatial_vlm_ros/resolver"
    own.mkdir(parents=True)
    (own / "key.pem").touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable}
    script = [ROOT / "executables" / "make_keystore", keys, "sim"]
    said = subprocess.run(script, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    enclaves = [f"/spatial_vlm_ros/{name}" for name in ("resolver", "frame_player", "operator", "anyone")]
    lines = [f"{what} {each}" for each in enclaves for what in ("create_enclave", "create_permission")]
    assert told.read_text().splitlines() == ["create_keystore ", *lines[1:]]
    assert f"ROS_SECURITY_KEYSTORE={keys}" in said
