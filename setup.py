# SPDX-License-Identifier: Apache-2.0
"""The ament_python package spatial_vlm_ros; also installs with plain pip, without ROS."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "spatial_vlm_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Resolves spatial language on RGB-D frames to metric poses, or refuses with a reason",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="spatial_vlm_ros maintainers",
    maintainer_email="maintainers@spatial-vlm-ros.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "language/*.lark"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/config", [str(p) for p in sorted(Path("config").glob("*.yaml"))]),
    ],
    install_requires=[
        "numpy>=1.26",
        "lark>=1.1.1",
        "click>=8.0",
        "rich>=11.2",
        "msgspec>=0.18",
        "pyyaml>=5.4",
    ],
    extras_require={
        # Not a hard dependency: on a robot, python3-opencv of the distribution provides cv2.
        "opencv": ["opencv-python-headless>=4.6"],
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "scipy>=1.11",
            "jsonschema>=4.19",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "types-PyYAML",
        ],
        "bench": ["open3d-cpu>=0.19"],
    },
    entry_points={"console_scripts": [f"spatial-vlm = {PACKAGE}.cli:run"]},
    zip_safe=False,
)
