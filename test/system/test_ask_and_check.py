# SPDX-License-Identifier: Apache-2.0
"""examples/ask_and_check.py, which checks the containers: against this package's own simulator, and on its words."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tables
from live_process import Started

pytest.importorskip("mujoco")
from spatial_vlm_ros.sim.settled import DEMO_WORLDS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "examples" / "ask_and_check.py"
WORLD = ROOT / "worlds" / "chicks.sdf"
SENTENCE = "grab me the chick behind the cup"


@pytest.fixture(scope="module")
def example() -> Any:
    return tables.example("ask_and_check.py")


def test_the_truth_of_the_world_is_where_the_simulator_has_its_objects(example: Any) -> None:
    with DEMO_WORLDS["behind"]() as simulated:
        for id_ in ("cup", "bonnet", "ribbon"):
            centre = tuple(simulated.truth[id_].centre)
            assert example.middle_of(WORLD, id_) == pytest.approx(centre, abs=0.004)  # they fall by 2 mm


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        (("", ""), "duck", "Choose one of: table, floor, cup"),
        (("", ""), "table", "no meshes"),
        (("<world", "<world <"), "bonnet", "not well-formed|invalid token"),
        (("meshes/bonnet_0.obj", "nowhere.obj"), "bonnet", "nowhere.obj"),
        (('<model name="bonnet">\n   <pose>0.9', '<model name="bonnet">\n   <pose>x'), "bonnet", "could not convert"),
    ],
)
def test_a_world_that_does_not_say_where_a_model_is_is_wrong_usage(
    example: Any, tmp_path: Path, change: tuple[str, str], name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = WORLD.read_text()
    assert change[0] in text
    path = tmp_path / "w.sdf"
    path.write_text(text.replace(*change) if change[0] else text)
    (tmp_path / "meshes").symlink_to(WORLD.parent / "meshes")
    with pytest.raises(example.WorldError, match=reason):
        example.middle_of(path, name)
    with pytest.raises(SystemExit, match="2"):
        example.main(["ask_and_check", SENTENCE, "--world", str(path), "--model", name])
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["--world", "w.sdf"], ["--truth", "1", "2", "3", "--world", "w.sdf"]])
def test_without_one_truth_it_is_wrong_usage(example: Any, given: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        example.main(["ask_and_check", SENTENCE, *given])


def answered(x: float, frame: str = "base_link") -> Any:
    position = SimpleNamespace(x=x, y=0.0, z=0.0)
    target = SimpleNamespace(label="chick", pose=SimpleNamespace(pose=SimpleNamespace(position=position)))
    status = SimpleNamespace(name="OK", message="")
    return SimpleNamespace(target=[target], header=SimpleNamespace(frame_id=frame), status=status)


def test_only_a_pose_that_is_near_in_the_frame_of_the_truth_is_right(example: Any) -> None:
    truth = (1.0, 0.0, 0.0)
    assert example.judged(answered(1.019), truth, 0.02, "base_link")[0] == example.NEAR
    code, line = example.judged(answered(1.021), truth, 0.02, "base_link")
    assert (code, "21 mm" in line, "not within 20 mm" in line) == (example.FAILED, True, True)
    assert example.judged(answered(1.0, "world"), truth, 0.02, "base_link")[0] == example.FAILED
    assert example.judged(None, truth, 0.02, "base_link")[0] == example.FAILED
    refusal = SimpleNamespace(target=[], status=SimpleNamespace(name="NOT_FOUND", message="no cup"))
    assert example.judged(refusal, truth, 0.02, "base_link") == (example.REFUSED, "NOT_FOUND: no cup")


def test_it_is_right_on_the_package_s_own_simulator_and_not_about_another_chick(
    start: Callable[..., Started], node: Callable[..., Started], domain: int
) -> None:
    """The resolver starts before the camera, as in a container: STALE_INPUT is asked again."""
    node("resolver", base_frame="base_link").says("resolver is active")

    def ask(*words: str) -> Started:
        return start(str(FILE), SENTENCE, "--world", str(WORLD), *words, ROS_DOMAIN_ID=str(domain))

    first = ask("--model", "bonnet")
    node("frame_player", world="behind").says("playing")
    assert first.ends() == 0, first.output
    assert "within 20 mm" in first.output
    other = ask("--model", "ribbon")
    assert other.ends() == 1, other.output
    assert "not within 20 mm" in other.output
