# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the launch files beside spatial_vlm.launch.py, as launch actions.

launch is imported when a launch file calls these functions: the real one, or the stand-in that replaces it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.launcher.supervisor import DELAY, Respawn


def beside_resolver(
    file: str, arguments: Mapping[str, Mapping[str, Any]], *make: Callable[[Any], list[Any]],
    before: Callable[[Any], list[Any]] = lambda _: [],
) -> Any:  # fmt: skip
    """Make the description of a launch file: its arguments, the transport profile, the resolver, and its nodes.

    `before` may set arguments of the resolver in the LaunchContext before they have their values.
    """
    from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchDescription

    variables = wiring.transport_environment(Path(file).parent.parent).items()
    resolver = PythonLaunchDescriptionSource(str(Path(file).with_name("spatial_vlm.launch.py")))
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, **form) for name, form in arguments.items()),
            *(SetEnvironmentVariable(name, value) for name, value in variables),
            OpaqueFunction(function=before),
            IncludeLaunchDescription(resolver),
            *(OpaqueFunction(function=each) for each in make),
        ]
    )


def life(said: Mapping[str, str]) -> dict[str, Any]:
    """Node arguments for its end: it is restarted if that helps; otherwise everything ends with it.

    launch evaluates `respawn` after the event that the process has ended, and first waits for the delay or a shutdown
    (ros2/launch 3.7.1, launch/launch/actions/execute_local.py:598-620). So the shutdown that `on_exit` returns for a
    node that must not restart comes before its respawn.
    """
    from launch.actions import Shutdown

    if said["respawn"] != "true":
        return {"on_exit": Shutdown()}
    policy = Respawn()

    def ended(event: Any, _context: Any) -> list[Any] | None:
        return None if policy.again(event.returncode) else [Shutdown()]

    return {"on_exit": ended, "respawn": True, "respawn_delay": DELAY}


def enclave(namespace: str, name: str) -> str:
    """Return the path of a process's enclave, which has a meaning only with SROS2."""
    return posixpath.join("/spatial_vlm_ros", namespace.strip("/"), name)


def node(name: str, said: Mapping[str, str], parameters: Mapping[str, Any], files: Sequence[str] = (),
         remappings: Sequence[tuple[str, str]] = ()) -> Any:  # fmt: skip
    """Make a node of this package in the given namespace; it is restarted, or everything ends with it."""
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    typed = {key: ParameterValue(value, value_type=type(value)) for key, value in parameters.items()}
    return Node(
        package="spatial_vlm_ros",
        executable=name,
        name=name,
        namespace=said["namespace"],
        parameters=[*files, *([typed] if typed else [])],
        remappings=list(remappings),
        ros_arguments=["--log-level", said["log_level"], "--enclave", enclave(said["namespace"], name)],
        output="screen",
        **life(said),
    )
