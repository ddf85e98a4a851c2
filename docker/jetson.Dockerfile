# Written, not run: no Jetson and no container engine were at hand. docs/containers.md says what was checked.
# SPDX-License-Identifier: Apache-2.0
#
# The resolver on a Jetson with JetPack 6: CUDA 12.6, cuDNN and TensorRT of NVIDIA's base, ROS 2 Humble from its archive.
# Perception alone: no MoveIt, no Gazebo. Build it on the Jetson:
#   docker build --file docker/jetson.Dockerfile --tag spatial-vlm:jetson .
#
# nvcr.io/nvidia/l4t-jetpack:r36.4.0 is Ubuntu 22.04 (Python 3.10), so its ROS 2 is Humble. Detectors with torch need
# NVIDIA's wheel for it, which is not installed here.

# not pinned: it was not looked up
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV LANG=C.UTF-8 \
    LC_ALL=C.UTF-8 \
    ROS_DISTRO=humble
ARG DEBIAN_FRONTEND=noninteractive

# ROS's archive, as https://github.com/osrf/docker_images sets it up for ros:humble-ros-core-jammy; the rest from it.
# Versions of apt packages are not pinned: ROS's archive keeps the newest one alone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && curl --location --silent --fail --output /tmp/ros2-apt-source.deb \
        https://github.com/ros-infrastructure/ros-apt-source/releases/download/1.2.0/ros2-apt-source_1.2.0.jammy_all.deb \
    && echo "767884cf4ed03116b9d64438930a832ed854147ae435279a7924dfdf60f94433 */tmp/ros2-apt-source.deb" \
        | sha256sum --strict --check \
    && dpkg --install /tmp/ros2-apt-source.deb \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential \
        python3-colcon-common-extensions \
        python3-pip \
        python3-rosdep \
        ros-humble-rmw-fastrtps-cpp \
        ros-humble-ros-base \
    && rm -rf /var/lib/apt/lists/* /tmp/ros2-apt-source.deb

# What package.xml names, before the sources: a change of code does not install it anew.
COPY package.xml /tmp/keys/spatial_vlm_ros/package.xml
COPY interfaces/package.xml /tmp/keys/spatial_vlm_interfaces/package.xml
RUN apt-get update \
    && rosdep init \
    && rosdep update --rosdistro humble \
    && rosdep install --ignore-src --default-yes --from-paths /tmp/keys --dependency-types build \
        --dependency-types buildtool --dependency-types build_export --dependency-types buildtool_export \
        --dependency-types exec \
    && rm -rf /var/lib/apt/lists/* /tmp/keys

# Without a rosdep key: msgspec. onnxruntime (on the CPU) and tokenizers run ONNX detectors, and onnxruntime needs a NumPy
# newer than Ubuntu's 1.21.5; 1.26.4 goes with Ubuntu's OpenCV, 2 does not.
RUN python3 -m pip install --no-cache-dir \
    msgspec==0.22.0 \
    numpy==1.26.4 \
    onnxruntime==1.23.2 \
    tokenizers==0.22.1


FROM base AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/ws
COPY . src/spatial_vlm_ros
# hadolint ignore=SC1091
RUN source /opt/ros/humble/setup.bash \
    && colcon build --merge-install --base-paths src src/spatial_vlm_ros/interfaces --cmake-args -DBUILD_TESTING=OFF


FROM base AS run
# The group video may use the GPU.
RUN useradd --create-home --uid 1001 --groups video robot
COPY --from=build /opt/ws/install /opt/ws/install
COPY docker/entrypoint.sh /entrypoint.sh
COPY examples/ask_and_check.py /opt/ws/examples/ask_and_check.py
# As the launch files set it, by the name that Humble's Fast DDS reads; for what is started by hand.
ENV FASTRTPS_DEFAULT_PROFILES_FILE=/opt/ws/install/share/spatial_vlm_ros/config/fastdds_images.xml
USER 1001
WORKDIR /opt/ws
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "spatial_vlm_ros", "spatial_vlm.launch.py", "camera:=realsense", "base_frame:=base_link"]
