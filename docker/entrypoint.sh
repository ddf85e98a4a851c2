#!/bin/bash
# Written, not run in a container: docs/containers.md. SPDX-License-Identifier: Apache-2.0
# Sources ROS and the workspace, then becomes the command.
set -e
# shellcheck disable=SC1090
source "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck disable=SC1091
source /opt/ws/install/local_setup.bash
exec "$@"
