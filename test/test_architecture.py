# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for the whole package: layers, lightness, public names, generated files, README."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import spatial_vlm_ros

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "spatial_vlm_ros"

BASE = {"types", "errors", "extras", "parameters", "printable", "files"}
LOCAL_PAGES = {"web"}
SEEN = BASE | {"language", "geometry", "spatial"}
CORE = SEEN | {"perception", "resolver"}
EDGE = CORE | LOCAL_PAGES | {"streams", "manipulation", "output", "sim", "evaluation"}
MAY_IMPORT = {  # low to high
    "errors": set(),
    "extras": set(),
    "printable": set(),
    "types": {"errors"},
    "files": {"errors", "types"},
    "parameters": BASE,
    "language": BASE,
    "geometry": BASE,
    "spatial": BASE | {"language", "geometry"},
    "vlm": BASE | {"geometry"},
    "perception": SEEN | {"vlm"},
    "resolver": CORE,
    "streams": BASE | {"geometry"},
    "web": {"errors", "extras"},
    "manipulation": BASE | LOCAL_PAGES | {"geometry", "spatial"},
    "output": CORE | {"manipulation", "vlm"},
    "sim": CORE | {"manipulation", "output"},
    "evaluation": CORE | LOCAL_PAGES | {"manipulation", "output", "streams"},
    "nodes": EDGE,
    "launcher": BASE,
    "cli": EDGE | {"launcher", "nodes", "vlm"},
    "__init__": CORE | {"evaluation"},
}
"""Room → the rooms that it may import. Layers are in CONTRIBUTING.md."""
NODE_ROOMS = {"perception": set(), "arm": {"perception"}, "sim": set()}
"""Room of nodes → the rooms of nodes that it may import; all import the files of `nodes/` itself."""
ONLY_AT_EDGES = {
    "msgspec": {"output", "evaluation", "perception"},
    "click": {"cli"},
    "rich": {"output", "evaluation", "cli"},
    "yaml": {"files"},
    "rclpy": {"nodes"},
    "rosbags": {"evaluation"},
    "ray": {"evaluation"},
    "pyarrow": {"evaluation"},
    "fsspec": {"evaluation"},
    "jinja2": {"manipulation", "evaluation"},
    "starlette": {"manipulation", "evaluation", "web"},
    "uvicorn": {"web"},
    "junitparser": {"evaluation"},
    "mujoco": {"sim"},
    "open3d": {"output"},
}
NEVER_IN_CORE = {"torch", "transformers", "safetensors", "tokenizers", "onnx", "onnxruntime", "PIL", "scipy"}
WITH_MODELS = ("vlm/", "perception/backends/", "perception/adapting/", "perception/model_export/", "cli/train.py")
"""Where models are: modules that nothing imports until a backend is loaded or a model is trained."""
NEVER = {"pickle", "dill", "marshal", "shelve"}


@functools.cache
def nodes_of(path: Path) -> tuple[ast.Import | ast.ImportFrom | ast.ClassDef, ...]:
    """What a file imports, and its classes."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return tuple(node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef)))


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """The rooms and the outside packages that a file imports."""
    rooms, outside = set(), set()
    for node in nodes_of(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "spatial_vlm_ros":
                names = [f"spatial_vlm_ros.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            (rooms if first == "spatial_vlm_ros" else outside).add(rest.split(".")[0] if rest else first)
    return rooms & {p.stem for p in PACKAGE.iterdir()}, outside


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_every_module_imports_only_from_below(path: Path) -> None:
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    rooms, outside = imports_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: give it its place in MAY_IMPORT and in CONTRIBUTING.md"
    assert rooms - {room} <= MAY_IMPORT[room], f"{path} imports upwards"
    if not str(path.relative_to(PACKAGE)).startswith(WITH_MODELS):
        assert not outside & NEVER_IN_CORE, f"{path} needs {outside & NEVER_IN_CORE}"
    assert not outside & NEVER
    for package, allowed in ONLY_AT_EDGES.items():
        assert package not in outside or room in allowed, f"{path} imports {package}"
    messages = {name for name in outside if name.endswith(("_msgs", "_interfaces"))}
    assert not messages or room == "nodes", f"{path} imports {messages}"
    if room == "language":
        assert not outside & {"numpy", "cv2"}


def test_a_class_name_is_used_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_no_modules_import_each_other() -> None:
    """Counted are imports inside functions and for type checkers alone, too; a package is its `__init__.py`."""
    dotted = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for path, name in dotted.items()}
    imported: dict[str, set[str]] = {}
    for name, path in names.items():
        found = set()
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                below = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {each if each in names else str(node.module) for each in below}
        imported[name] = found & names.keys()
    while low := {name for name, needs in imported.items() if not needs & imported.keys()}:
        imported = {name: needs for name, needs in imported.items() if name not in low}
    assert not imported, f"in circles, or importing from one: {sorted(imported)}"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


@pytest.mark.live
def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, spatial_vlm_ros; print(*sorted(sys.modules))").split()
    assert not {"numpy", "cv2", "lark", "msgspec", "rich", "click"} & set(loaded)


@pytest.mark.live
def test_a_whole_resolve_needs_no_ros_no_torch_and_no_edge_library() -> None:
    code = """
import sys
from collections import Counter
for name in ("rclpy", "torch", "transformers", "open3d", "mujoco", "rosbags", "msgspec", "click", "rich", "yaml"):
    sys.modules[name] = None  # importing it fails
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
frame, detections = chicks_and_cup_frame()
print(Resolver().resolve(frame, "the chick behind the cup", detections).target.id)
"""
    assert run_python(code).strip() == "bonnet"


def test_every_public_name_exists_and_is_listed() -> None:
    for name in spatial_vlm_ros.__all__:
        assert getattr(spatial_vlm_ros, name) is not None
    assert dir(spatial_vlm_ros) == sorted(spatial_vlm_ros.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = spatial_vlm_ros.nonsense


def test_the_readme_example_runs_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    promised = [line[2:] for line in code.splitlines() if line.startswith("# ")]
    number = re.compile(r"-?\d+\.\d+")
    assert [number.sub("#", line) for line in printed] == [number.sub("#", line) for line in promised]
    values = [[float(x) for x in number.findall("\n".join(lines))] for lines in (printed, promised)]
    assert values[0] == pytest.approx(values[1], abs=0.011)  # printed to the centimetre


def test_generated_files_are_up_to_date() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from scripts.generate import files
    finally:
        sys.path.remove(str(ROOT))
    for path, text in files().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make generate`"


def test_version_is_the_same_everywhere() -> None:
    version = spatial_vlm_ros.__version__
    assert f"<version>{version}</version>" in (ROOT / "package.xml").read_text()
    assert f'version="{version}"' in (ROOT / "setup.py").read_text()


def test_every_source_file_names_its_licence() -> None:
    for folder in ("spatial_vlm_ros", "test", "research", "scripts", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert not text or text.startswith("# SPDX-License-Identifier: Apache-2.0"), path


def test_test_files_have_names_of_their_own() -> None:
    """Without packages, pytest imports two files of one name as one module and collects only the first."""
    names = [path.name for folder in ("test", "research/test") for path in (ROOT / folder).rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_modules_beside_the_tests_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "test").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
