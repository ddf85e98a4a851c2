# Written, not run: no container engine was at hand. docs/containers.md says what was checked.
# SPDX-License-Identifier: Apache-2.0
#
# ROS 2 Jazzy, Gazebo Harmonic, MoveIt and this package, built by colcon.
#   docker build --file docker/jazzy.Dockerfile --tag spatial-vlm:jazzy .
#
# osrf/ros:jazzy-simulation-noble is Ubuntu 24.04 with ros_base and ros_gz, which brings Gazebo Harmonic.

# not pinned: it was not looked up
FROM osrf/ros:jazzy-simulation-noble AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# EGL and Mesa: Gazebo draws its camera's images without a display, and without a GPU.
# Versions of apt packages are not pinned: ROS's archive keeps the newest one alone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libegl-mesa0 \
        libegl1 \
        libgl1-mesa-dri \
        python3-pip \
        ros-jazzy-moveit \
        ros-jazzy-rmw-fastrtps-cpp \
        ros-jazzy-tf2-ros \
    && rm -rf /var/lib/apt/lists/*

# What package.xml names, before the sources: a change of code does not install it anew.
COPY package.xml /tmp/keys/spatial_vlm_ros/package.xml
COPY interfaces/package.xml /tmp/keys/spatial_vlm_interfaces/package.xml
RUN apt-get update \
    && rosdep update --rosdistro jazzy \
    && rosdep install --ignore-src --default-yes --from-paths /tmp/keys --dependency-types build \
        --dependency-types buildtool --dependency-types build_export --dependency-types buildtool_export \
        --dependency-types exec \
    && rm -rf /var/lib/apt/lists/* /tmp/keys

# Without a rosdep key: msgspec; onnxruntime runs the compact model. Both beside the distribution's NumPy and OpenCV.
RUN python3 -m pip install --no-cache-dir --break-system-packages msgspec==0.22.0 onnxruntime==1.32.0


FROM base AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/ws
COPY . src/spatial_vlm_ros
# hadolint ignore=SC1091
RUN source /opt/ros/jazzy/setup.bash \
    && colcon build --merge-install --base-paths src src/spatial_vlm_ros/interfaces --cmake-args -DBUILD_TESTING=OFF


FROM base AS run
RUN useradd --create-home --uid 1001 robot
COPY --from=build /opt/ws/install /opt/ws/install
COPY docker/entrypoint.sh /entrypoint.sh
COPY examples/ask_and_check.py /opt/ws/examples/ask_and_check.py
# As the launch files set it; for what is started by hand.
ENV FASTDDS_DEFAULT_PROFILES_FILE=/opt/ws/install/share/spatial_vlm_ros/config/fastdds_images.xml
USER 1001
WORKDIR /opt/ws
ENTRYPOINT ["/entrypoint.sh"]
CMD ["bash"]
