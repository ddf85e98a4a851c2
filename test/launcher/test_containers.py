# SPDX-License-Identifier: Apache-2.0
"""The files for containers and their workflow, which were not run: what they name exists, and they keep the rules."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from spatial_vlm_ros.launcher import plan

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE_FILE, WORKFLOW_FILE = ROOT / "docker" / "compose.yaml", ROOT / ".github" / "workflows" / "gazebo.yml"
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())
WORKFLOW = yaml.safe_load(WORKFLOW_FILE.read_text())
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
PAGE = (ROOT / "docs" / "containers.md").read_text()
NOT_RUN = re.compile(r"[Ww]ritten, not run")
SHARE = "/opt/ws/install/share/spatial_vlm_ros/"


def instructions(path: Path) -> list[tuple[str, str]]:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


each_file = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: str(path.stem))


def test_the_page_and_the_first_comment_of_each_file_say_that_it_was_not_run() -> None:
    assert NOT_RUN.search(PAGE.split("\n\n")[1])
    for path in (*DOCKERFILES, COMPOSE_FILE, WORKFLOW_FILE, ENTRYPOINT):
        lines = path.read_text().splitlines()
        assert NOT_RUN.search(next(line for line in lines if line.startswith("#") and not line.startswith("#!"))), path
        assert str(path.relative_to(ROOT)) in PAGE


@each_file
def test_the_base_has_a_tag_of_its_own_stages_build_on_it_and_both_packages_are_built(dockerfile: Path) -> None:
    stages: list[str] = []
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            if image not in stages:
                tag = image.rpartition(":")[2]
                assert ":" in image
                assert re.search(r"\d|noble|jammy", tag), image  # neither "latest" nor a bare name
            stages.append(name)
    assert stages == ["base", "build", "run"]
    command = "--base-paths src src/spatial_vlm_ros/interfaces"
    assert any(word == "RUN" and "colcon build" in rest and command in rest for word, rest in instructions(dockerfile))


@each_file
def test_nothing_runs_as_root_and_no_layer_keeps_what_only_a_build_needs(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    last = [word for word, _ in found]
    assert found[last.index("USER")][1] == "1001"
    assert not {"RUN", "COPY"} & set(last[last.index("USER") :])
    for word, rest in found:
        assert word != "ADD"
        if word != "RUN":
            continue
        assert "sudo" not in rest
        if "apt-get install" in rest or "rosdep install" in rest:
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
        if "pip install" in rest:
            assert "--no-cache-dir" in rest
            packages = rest.partition("pip install")[2].split()
            assert all("==" in package for package in packages if not package.startswith("-"))
        if "curl" in rest.split():
            assert "sha256sum" in rest


def test_what_is_copied_and_all_that_setup_installs_is_sent_to_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    for word, rest in (each for path in DOCKERFILES for each in instructions(path)):
        if word == "COPY" and not rest.startswith("--from"):
            source = rest.split()[0]
            assert (ROOT / source).exists()
            assert source == "." or any(source == name or source.startswith(f"{name}/") for name in kept), source
    wanted = re.findall(r'files\("(\w+)"\)|^\s+"(\w+)(?:/\w+)?",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    folders = {name for pair in wanted for name in pair if name and (ROOT / name).is_dir()}
    assert {"config", "executables", "launch", "models", "worlds"} <= folders <= kept
    names = ("interfaces", "resource", "package.xml", "setup.py", "setup.cfg", "README.md")
    assert {"spatial_vlm_lab", "spatial_vlm_ros", *names} <= kept


@each_file
@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed: the files are not linted")
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:  # 2.15.1 had not
    done = subprocess.run(["hadolint", str(dockerfile)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def launched(words: list[str]) -> set[str]:
    """The executables that a `ros2 launch` of this package starts."""
    assert words[:3] == ["ros2", "launch", "spatial_vlm_ros"]
    given = dict(word.split(":=", 1) for word in words[4:])
    return {process.executable for process in plan.plan(ROOT / "launch" / words[3], given)}


def test_gazebo_the_resolver_and_the_question_share_one_machine_and_have_no_rights() -> None:
    services: dict[str, Any] = COMPOSE["services"]
    assert set(services) == {"gazebo", "resolver", "ask"}
    for name, service in services.items():
        assert service["build"] == {"context": "..", "dockerfile": "docker/jazzy.Dockerfile"}
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not {"privileged", "user", "volumes", "ports"} & set(service)
        if name != "gazebo":
            assert (service["network_mode"], service["ipc"]) == ("service:gazebo", "service:gazebo")
    assert services["gazebo"]["ipc"] == "shareable"
    assert services["gazebo"]["shm_size"] == "1gb"  # docs/launch.md: 64 MB are enough for three processes
    assert services["ask"]["profiles"] == ["check"]  # `up` does not start it


def test_the_services_and_the_jetson_start_what_there_is() -> None:
    (command,) = (rest for word, rest in instructions(ROOT / "docker" / "jetson.Dockerfile") if word == "CMD")
    launched(yaml.safe_load(command))
    gazebo, resolver, ask = (COMPOSE["services"][name]["command"] for name in ("gazebo", "resolver", "ask"))
    assert gazebo[:5] == ["gz", "sim", "-s", "-r", "--headless-rendering"]
    world = gazebo[5].removeprefix(SHARE)
    assert (ROOT / world).is_file()
    assert launched(resolver) == {"resolver", "parameter_bridge", "static_transform_publisher"}
    assert ask[:2] == ["python3", "/opt/ws/examples/ask_and_check.py"]
    asked = dict(zip(ask[3::2], ask[4::2], strict=True))
    assert asked["--world"] == gazebo[5]
    assert f'<model name="{asked["--model"]}">' in (ROOT / world).read_text()
    assert float(asked["--within"]) == 0.02
    assert ask[2] == "grab me the chick behind the cup"


def test_the_workflow_builds_starts_asks_and_stops_what_the_compose_file_has() -> None:
    job = WORKFLOW["jobs"]["ask"]
    assert (ROOT / job["env"]["COMPOSE_FILE"]) == COMPOSE_FILE
    steps = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    assert [words[2] for words in steps] == ["build", "up", "run", "logs", "down"]
    named = {word for words in steps for word in words[3:] if not word.startswith("-")}
    assert named == set(COMPOSE["services"])
    assert [step["if"] for step in job["steps"] if "if" in step] == ["always()", "always()"]
    assert "continue-on-error" not in WORKFLOW_FILE.read_text()


def test_the_workflow_may_only_read_ends_and_runs_where_a_file_of_its_changes() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["jobs"]["ask"]["timeout-minutes"] <= 60
    uses = [step["uses"] for step in WORKFLOW["jobs"]["ask"]["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/\w+@v\d+", name) for name in uses)
    assert "${{ secrets" not in WORKFLOW_FILE.read_text()
    paths = WORKFLOW[True]["pull_request"]["paths"]  # YAML 1.1 reads "on" as true
    assert [path for path in paths if not any(ROOT.glob(f"{path}/*" if path.endswith("**") else path))] == []
