# SPDX-License-Identifier: Apache-2.0
"""What pip and rosdep make of the package: source archive, wheel and editable install, manifests, what is run where."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spatial_vlm_ros.extras import PACKAGES

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("config", "executables", "launch", "models", "resource", "spatial_vlm_lab", "spatial_vlm_ros", "test",
              "worlds", "LICENSE", "MANIFEST.in", "README.md", "package.xml", "pyproject.toml", "setup.cfg",
              "setup.py")  # fmt: skip
INSTALLED = ("config", "launch", "models/compact", "worlds")
LEFT_OUT = (
    *("labelling_page", "launcher", "manipulation/approval", "manipulation/builtin_planner", "nodes", "nodes_arm"),
    *("perception", "replay", "sim", "sim_arm", "spatial", "system", "test_benchmarks.py", "test_build_paths.py"),
    *("tutorials", "vlm"),
)
"""Tests that `colcon test` leaves out, all or in part: they take long, or need what not every robot has."""
NUMPY = "1.21.5"
"""The oldest NumPy that is declared; the names below are what NumPy 2.4 has and it has not."""
NEWER_NAMES = {
    "acos", "acosh", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bitwise_count", "bitwise_invert",
    "bitwise_left_shift", "bitwise_right_shift", "bool", "concat", "cumulative_prod", "cumulative_sum", "dtypes",
    "exceptions", "from_dlpack", "isdtype", "long", "matrix_transpose", "matvec", "permute_dims", "pow", "strings",
    "trapezoid", "ulong", "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "vecdot",
    "vecmat", "linalg.cross", "linalg.diagonal", "linalg.matmul", "linalg.matrix_norm", "linalg.matrix_transpose",
    "linalg.outer", "linalg.svdvals", "linalg.tensordot", "linalg.trace", "linalg.vecdot", "linalg.vector_norm",
}  # fmt: skip


def python(*words: str | Path, cwd: Path, executable: str | Path = sys.executable) -> str:
    """What a Python says that sees neither this checkout nor its settings."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    done = subprocess.run([executable, *words], cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def backend(source: Path, call: str) -> str:
    """What a call of the build backend gives: a file's name."""
    code = f"from setuptools import build_meta; print(build_meta.{call})"
    return python("-W", "ignore", "-c", code, cwd=source).splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, which builds leave their traces in."""
    copy = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def environment(folder: Path, wheel: Path, dependencies: bool = True) -> Path:
    """The Python of a new virtual environment with a wheel; its dependencies are those of this environment, or none."""
    python("-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (site,) = folder.glob("lib/python3*/site-packages")
    if dependencies:
        (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # noqa: S202 - built here
    for data in site.glob("*.data/data"):
        shutil.copytree(data, folder, dirs_exist_ok=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a source archive as `python -m build` does."""
    made = tmp_path_factory.mktemp("made")
    archive = made / backend(source, f"build_sdist({str(made)!r})")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(made, filter="data")
    return made / backend(made / archive.name.removesuffix(".tar.gz"), f"build_wheel({str(made)!r})")


@pytest.mark.live
def test_setup_reads_its_files_from_any_folder(tmp_path: Path) -> None:
    assert python(ROOT / "setup.py", "--version", cwd=tmp_path).split()[-1] == "0.1.0"


@pytest.mark.live
def test_a_wheel_made_from_the_source_archive_has_all_that_is_shipped(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    data = f"{'-'.join(wheel.name.split('-')[:2])}.data/data"
    for folder in INSTALLED:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix != ".safetensors":
                assert f"{data}/share/spatial_vlm_ros/{path.relative_to(ROOT)}" in inside
    assert {f"{data}/lib/spatial_vlm_ros/{path.name}" for path in (ROOT / "executables").iterdir()} <= inside
    for path in (each for package in ("spatial_vlm_ros", "spatial_vlm_lab") for each in (ROOT / package).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            assert str(path.relative_to(ROOT)) in inside
    assert not {name for name in inside if name.startswith("test")}
    assert not {name for name in inside if name.endswith(".safetensors")}  # weights that model.onnx has
    assert wheel.stat().st_size < 12_000_000


@pytest.mark.live
def test_the_same_sources_make_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (unpacked,) = (path for path in wheel.parent.iterdir() if path.is_dir())
    again = shutil.copytree(unpacked, tmp_path / "again", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    for path in again.rglob("*"):
        os.utime(path, (1_900_000_000, 1_900_000_000))
    assert (tmp_path / backend(again, f"build_wheel({str(tmp_path)!r})")).read_bytes() == wheel.read_bytes()


@pytest.mark.live
def test_the_source_archive_has_no_tests_without_what_they_need(wheel: Path) -> None:
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as unpacked:
        assert not [name for name in unpacked.getnames() if "/test" in name]


@pytest.mark.live
def test_commands_of_a_wheel_find_what_came_with_it(wheel: Path, tmp_path: Path) -> None:
    interpreter = environment(tmp_path / "env", wheel)
    where = "import spatial_vlm_ros; print(spatial_vlm_ros.__file__)"
    assert str(tmp_path / "env") in python("-c", where, cwd=tmp_path, executable=interpreter)
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom spatial_vlm_ros.cli.main import main\n"
        "done = CliRunner().invoke(main, sys.argv[1:])\nprint(done.exit_code, done.output)"
    )
    train = python("-c", code, "train", "--data", tmp_path / "data", cwd=tmp_path, executable=interpreter)
    assert "give --out or --render-only" in train  # said after the split was read
    up = python("-c", code, "up", "sim", "--print", cwd=tmp_path, executable=interpreter)
    assert f"--params-file {tmp_path}/env/share/spatial_vlm_ros/config/resolver.yaml" in up
    found = python(
        "-c", "from spatial_vlm_ros.perception.backends.compact import shipped; print(shipped())", cwd=tmp_path,
        executable=interpreter,
    )  # fmt: skip
    assert found.strip() == f"{tmp_path}/env/share/spatial_vlm_ros/models/compact"


@pytest.mark.live
def test_type_checkers_follow_an_editable_install(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    wheel = tmp_path / backend(source, f"build_editable({str(tmp_path)!r})")
    interpreter = environment(tmp_path / "env", wheel, dependencies=False)  # which are read for seconds
    (tmp_path / "users.py").write_text(
        "from spatial_vlm_ros import Resolver, load_frame\n\n"
        "frame, found = load_frame('folder')\nanswer = Resolver().resolve(frame, 'the mug', found)\n"
        "reveal_type(answer.question)\nanswer.nonsense\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", interpreter, "users.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        'users.py:5: note: Revealed type is "str | None"',
        'users.py:6: error: "Resolution" has no attribute "nonsense"  [attr-defined]',
        "Found 1 error in 1 file (checked 1 source file)",
    ], done.stderr


def dependencies(manifest: Path, tags: tuple[str, ...]) -> dict[str, str]:
    """Key → condition, of a package.xml."""
    root = ElementTree.parse(manifest).getroot()  # noqa: S314 - our own
    return {str(each.text): each.get("condition", "") for tag in tags for each in root.iter(tag)}


def imports(folder: Path) -> set[str]:
    """Top-level names that modules import anywhere in them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found


def test_messages_name_the_packages_that_extras_install() -> None:
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    (extras,) = [word.value for call in calls for word in call.keywords if word.arg == "extras_require"]
    listed = ast.literal_eval(extras)
    for extra, packages in PACKAGES.items():
        below = [re.fullmatch(r"([\w-]+)(?:>=[\d.]+)?(?:,?(<[\d.]+))?", wanted) for wanted in listed[extra]]
        assert None not in below, extra
        parts = [part.groups() for part in below if part is not None]
        assert packages == " ".join(f'"{name}{bound}"' if bound else name for name, bound in parts)


def test_every_ros_package_that_is_imported_is_in_the_manifest() -> None:
    keys = dependencies(ROOT / "package.xml", ("depend", "exec_depend"))
    found = imports(ROOT / "spatial_vlm_ros") | imports(ROOT / "spatial_vlm_lab") | imports(ROOT / "launch")
    ros = {name for name in found if re.fullmatch(r"\w+_(msgs|srvs|interfaces)|rclpy|launch|launch_ros", name)}
    assert {"sensor_msgs", "action_msgs", "std_srvs", "launch_ros"} <= ros
    assert not ros - {key for key, condition in keys.items() if not condition}


def test_nothing_is_used_that_the_oldest_numpy_does_not_have() -> None:
    assert f'"numpy>={NUMPY}"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    for path in ROOT.glob("spatial_vlm_*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                module, _, name = ast.unparse(node).partition(".")
                assert module != "np" or name not in NEWER_NAMES, f"{path}: np.{name}"
                assert node.attr != "spawn" or name.startswith("random.SeedSequence"), f"{path}: Generator.spawn"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what reads conditions
def test_rosdep_installs_the_parts_that_not_every_robot_has_only_where_it_is_told() -> None:
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROOT / "package.xml"))

    def chosen(**variables: str) -> set[str]:
        package.evaluate_conditions(variables)
        return {each.name for each in package.exec_depends if each.evaluated_condition}

    assert not {name for name in chosen() if name.endswith("-pip")}
    assert chosen(SPATIAL_VLM_BAGS="1") - chosen() == {"python3-rosbags-pip"}
    assert chosen(SPATIAL_VLM_SIM="1") - chosen() == {"python3-mujoco-pip"}
    assert chosen(SPATIAL_VLM_COMPACT="1") - chosen() == {"python3-onnxruntime-pip"}
    assert chosen(SPATIAL_VLM_WEB="1") - chosen() == {"python3-uvicorn", "python3-jinja2"}
    assert chosen(SPATIAL_VLM_REPORT="1") - chosen() == {"python3-junitparser", "python3-jinja2"}


def test_the_changelog_of_the_interfaces_names_each_of_them_and_their_version() -> None:
    text = (ROOT / "interfaces" / "CHANGELOG.rst").read_text(encoding="utf-8")
    version = ElementTree.parse(ROOT / "interfaces" / "package.xml").findtext("version")  # noqa: S314 - our own
    assert re.findall(r"^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", text, re.MULTILINE)[0] == version
    for folder in ("msg", "srv", "action"):
        for path in (ROOT / "interfaces" / folder).iterdir():
            assert f"``{path.stem}``" in text, path.name


def test_colcon_test_runs_every_test_but_those_that_are_left_out_by_folder(pytestconfig: pytest.Config) -> None:
    run = {path for pattern in pytestconfig.getini("testpaths") for path in ROOT.glob(pattern)}
    files = {path for path in (ROOT / "test").rglob("test_*.py") if run.isdisjoint({path, *path.parents})}
    folders = {folder for folder in LEFT_OUT for path in files if path.is_relative_to(ROOT / "test" / folder)}
    assert folders == set(LEFT_OUT)
    assert not {path for path in files if not any(path.is_relative_to(ROOT / "test" / folder) for folder in LEFT_OUT)}
