# SPDX-License-Identifier: Apache-2.0
"""Parts of the node's process: interrupts, shared memory and transports, kept dialogues."""

import contextlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from live_domain import free_domain
from waiting import DEADLINE

from spatial_vlm_ros.budgets import MOST_DIALOGUES as MOST
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.nodes.main import without_shared_memory
from spatial_vlm_ros.nodes.perception.requests import DialogueStore
from spatial_vlm_ros.nodes.process import OtherProcess, interrupted_afterwards, interrupts, removed_ports, stat_of
from spatial_vlm_ros.spatial.dialogue_state import Dialogue


def test_the_kernel_tells_of_a_process_at_once_that_it_is_suspended_or_has_ended() -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = OtherProcess(other.pid, stat_of(other.pid)[-1])
    assert OtherProcess(other.pid, "0").look() == "has ended", "another process has its number now"
    assert seen.look() == ""
    for number, expected in (
        (signal.SIGSTOP, ["", "is suspended"]),
        (signal.SIGCONT, [""]),
        (signal.SIGKILL, ["has ended"]),
    ):
        other.send_signal(number)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WCONTINUED | os.WEXITED | os.WNOWAIT)
        assert [seen.look() for _ in expected] == expected
    other.communicate()
    assert (seen.look(), stat_of(other.pid)) == ("has ended", [])


def press() -> None:
    """Ctrl-C as in one of rclpy's generators: an exception there is lost."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_is_raised_once_what_is_within_has_ended() -> None:
    before, ended = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupted_afterwards():
            press()
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert ended
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_is_told_as_often_as_it_is_asked_for_and_without_one_nothing_is_raised() -> None:
    with interrupts() as pressed, interrupted_afterwards():
        assert not pressed()
    with interrupts() as pressed:
        press()
        assert (pressed(), pressed()) == (True, True)


def test_signals_belong_to_the_main_thread() -> None:
    def beside() -> bool:
        with interrupts() as pressed, interrupted_afterwards():
            return pressed()

    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(beside).result(DEADLINE)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    """A file of the name of a port, mapped as Fast DDS maps it."""
    path = tmp_path / "fastdds_port65001"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        yield path


@pytest.mark.parametrize(
    ("listens", "removed", "found"),
    [(True, (), False), (True, ("",), True), (True, ("", "_el"), True), (False, ("",), False)],
    ids=["it is there", "removed", "removed with its lock", "removed, of another process"],
)
def test_a_port_that_was_removed_is_found(port: Path, listens: bool, removed: tuple[str, ...], found: bool) -> None:
    with port.with_name(f"{port.name}_el").open("w") if listens else nullcontext():
        for end in removed:
            port.with_name(port.name + end).unlink()
        assert removed_ports() == ((port.name,) if found else ())
    assert removed_ports(port.with_name("nothing")) == (), "what cannot be read has none"


def dialogue(name: str) -> Dialogue:
    queries = parse("grab the cup")
    return Dialogue(name, ("grab the cup",), queries, queries)


def test_an_expired_dialogue_is_refused_as_expired_and_an_unknown_one_as_unknown() -> None:
    now = [0.0]
    store = DialogueStore(lambda: 600.0, lambda: now[0])
    store.keep(dialogue("a"))
    now[0] = 500.0
    assert store.find("a") is not None  # used again: it lives on from here
    now[0] = 1000.0
    store.keep(dialogue("b"))
    assert store.find("a") is not None
    now[0] = 1650.0
    with pytest.raises(InputError, match=r"'b', which expired after 600 s without a reply") as caught:
        store.find("b")
    assert "Send the whole instruction" in str(caught.value)
    with pytest.raises(InputError) as caught:
        store.find("never")
    assert "expired" not in str(caught.value)
    assert len(store) == 0


def test_the_newest_are_kept_a_refusal_loses_none_and_what_is_over_is_bounded_too() -> None:
    store = DialogueStore(lambda: 600.0, lambda: 0.0)
    for last, words in ((MOST + 50, "which was replaced by"), (5 * MOST + 1500, "(?s)^((?!replaced).)*$")):
        for number in range(last):
            store.keep(dialogue(str(number)))
        assert len(store) == MOST
        with pytest.raises(InputError, match=words):
            store.find("0")
        assert len(store) == MOST
        assert store.find(str(last - 1)) is not None


ROOT = Path(__file__).parents[2]
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
IMAGES = str(ROOT / "config" / "fastdds_images.xml")
TALKS = """
import sys, time
alone, mine, other = sys.argv[1] == "alone", *sys.argv[2:]
if alone:
    from spatial_vlm_ros.nodes.main import without_shared_memory
    without_shared_memory()
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node(mine)
heard = []
says = node.create_publisher(String, mine, 10)
node.create_subscription(String, other, lambda message: heard.append(message.data), 10)
end = time.monotonic() + 60.0
while time.monotonic() < end and not (heard and says.get_subscription_count() and "heard" in heard):
    says.publish(String(data="heard" if heard else "there"))
    rclpy.spin_once(node, timeout_sec=0.05)
for _ in range(40):  # the other one may not have heard yet
    says.publish(String(data="heard"))
    rclpy.spin_once(node, timeout_sec=0.05)
print("shared" if "/dev/shm/fastdds_" in open("/proc/self/maps").read() else "udp", "heard" in heard)
"""


def talking(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TALKS, *words], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("discovery", "other"),
    [
        ("LOCALHOST", "shared"),
        *(pytest.param(*row, marks=pytest.mark.slow)
          for row in (("LOCALHOST", "alone"), ("SUBNET", "alone"), ("SUBNET", "shared"))),
    ],
)  # fmt: skip
def test_a_node_without_shared_memory_is_found_by_others(discovery: str, other: str) -> None:
    with free_domain() as domain:
        chosen = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": discovery}
        chosen["FASTDDS_DEFAULT_PROFILES_FILE"] = IMAGES
        ours, theirs = talking(chosen, "alone", "a", "b"), talking(chosen, other, "b", "a")
        try:
            assert ours.communicate(timeout=3 * DEADLINE)[0].split() == ["udp", "True"]
            way = "udp" if other == "alone" else "shared"
            assert theirs.communicate(timeout=3 * DEADLINE)[0].split() == [way, "True"]
        finally:
            for process in (ours, theirs):
                process.kill()
                process.wait()


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "own.xml"}, True),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, True),
        ({"ROS_STATIC_PEERS": "10.0.0.7"}, True),
        ({}, False),
    ],
)
def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], kept: bool) -> None:
    for name in (*PROFILES, "RMW_IMPLEMENTATION", "ROS_STATIC_PEERS"):
        monkeypatch.setenv(name, "")  # as it was afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    for name, value in {**chosen, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}.items():
        monkeypatch.setenv(name, value)
    without_shared_memory()
    assert (os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST") is kept
    if "ROS_STATIC_PEERS" not in chosen:
        assert (os.environ.get(PROFILES[0]) == chosen.get(PROFILES[0])) is kept
    for name in PROFILES:
        monkeypatch.delenv(name, raising=False)
