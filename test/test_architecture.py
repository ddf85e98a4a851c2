# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for the whole package: layers, lightness, public names, generated files, README."""

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import spatial_vlm_ros
from scripts.generate import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, LAB = ROOT / "spatial_vlm_ros", ROOT / "spatial_vlm_lab"
RULES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
MAY_IMPORT, NODE_ROOMS, ONLY_AT_EDGES = (
    {name: set(rooms) for name, rooms in RULES[table].items()} for table in ("may_import", "nodes", "only_at_edges")
)
NEVER_IN_CORE = {"torch", "transformers", "safetensors", "tokenizers", "onnx", "onnxruntime", "PIL", "scipy"}
WITH_MODELS = ("vlm/", "perception/backends/", "perception/model_export.py")
"""Where models are: modules that nothing imports until a backend is loaded or a model is trained."""
NEVER = {"pickle", "dill", "marshal", "shelve"}


def statements(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements in some, at any depth."""
    for node in nodes:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from statements(getattr(node, field, ()))


@functools.cache
def nodes_of(path: Path) -> tuple[ast.Import | ast.ImportFrom | ast.ClassDef, ...]:
    """What a file imports, and its classes."""
    nodes = statements(ast.parse(path.read_text()).body)
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


@pytest.mark.parametrize("room", sorted(path.stem for path in PACKAGE.iterdir() if path.suffix in {".py", ""}))
def test_every_module_imports_only_from_below(room: str) -> None:
    for path in [*PACKAGE.glob(f"{room}.py"), *(PACKAGE / room).rglob("*.py")]:
        rooms, outside = imports_of(path)
        assert room in MAY_IMPORT, f"{room} is a new room: its place is missing in test_architecture.toml"
        assert rooms - {room} <= MAY_IMPORT[room], f"{path} imports upwards"
        if not str(path.relative_to(PACKAGE)).startswith(WITH_MODELS):
            assert not outside & NEVER_IN_CORE, f"{path} needs {outside & NEVER_IN_CORE}"
        assert not outside & {*NEVER, "spatial_vlm_lab"}, f"{path} needs {outside & {*NEVER, 'spatial_vlm_lab'}}"
        for package, allowed in ONLY_AT_EDGES.items():
            assert package not in outside or room in allowed, f"{path} imports {package}"
        messages = {name for name in outside if name.endswith(("_msgs", "_interfaces"))}
        assert not messages or room == "nodes", f"{path} imports {messages}"
        if room == "language":
            assert not outside & {"numpy", "cv2"}


def test_the_lab_needs_no_ros_and_models_only_to_train_them() -> None:
    for path in LAB.rglob("*.py"):
        trains = path.parent.name in ("adaptation", "training")
        outside = {re.sub(r"\w+_(msgs|interfaces)", "rclpy", name) for name in imports_of(path)[1]}
        assert not outside & {*NEVER, "rclpy", *(() if trains else NEVER_IN_CORE)}, path


def test_rooms_of_nodes_import_only_what_they_may() -> None:
    for room, allowed in NODE_ROOMS.items():
        for path in (PACKAGE / "nodes" / room).rglob("*.py"):
            modules = [str(node.module).split(".") for node in nodes_of(path) if isinstance(node, ast.ImportFrom)]
            named = {parts[2] for parts in modules if parts[:2] == ["spatial_vlm_ros", "nodes"] and len(parts) > 2}
            assert named & NODE_ROOMS.keys() <= allowed | {room}, path


def test_a_class_name_is_used_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in sorted((*PACKAGE.rglob("*.py"), *LAB.rglob("*.py"))):
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_a_module_gives_a_name_one_value() -> None:
    """Two parts of a file had a constant of one name: the second value held for both."""
    for path in [*PACKAGE.rglob("*.py"), *LAB.rglob("*.py")]:
        targets = [t for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign) for t in node.targets]
        names = Counter(part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
        assert {name for name, count in names.items() if count > 1} == set(), path


def test_no_modules_import_each_other() -> None:
    """Counted are imports inside functions and for type checkers alone, too; a package is its `__init__.py`."""
    paths = {path.relative_to(ROOT).with_suffix("").parts: path for path in ROOT.glob("spatial_vlm_*/**/*.py")}
    names = {".".join(parts).removesuffix(".__init__"): path for parts, path in paths.items()}
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
    for path, text in files().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make generate`"


def test_version_is_the_same_everywhere() -> None:
    version = spatial_vlm_ros.__version__
    assert f"<version>{version}</version>" in (ROOT / "package.xml").read_text()
    assert f'version="{version}"' in (ROOT / "setup.py").read_text()


def test_every_source_file_names_its_licence() -> None:
    for folder in ("spatial_vlm_ros", "spatial_vlm_lab", "test", "research", "scripts", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert not text or text.startswith("# SPDX-License-Identifier: Apache-2.0"), path


def test_modules_of_tests_have_names_of_their_own() -> None:
    """Without packages, pytest imports two files of one name as one module and collects only the first."""
    folders = (ROOT / "test", ROOT / "research" / "test")
    names = Counter(path.name for folder in folders for path in folder.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_every_onnx_file_is_opened_by_the_one_loader_that_checks_it() -> None:
    opening = {path.name for path in PACKAGE.rglob("*.py") if "InferenceSession" in path.read_text(encoding="utf-8")}
    assert opening == {"onnx_session.py"}
