# SPDX-License-Identifier: Apache-2.0
"""Which object is which from image to image, where it is, and what is said when that is not known."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.sim.tabletop import Body, Box, Cylinder, World, camera_of, look_at, noisy, render
from spatial_vlm_ros.tracking.follower import SceneFollower
from spatial_vlm_ros.tracking.tracker import Track, TrackState
from spatial_vlm_ros.types import Detection

CAMERA, EYE = camera_of(320, 240), (-0.75, 0.0, 0.5)
RATE, EVERY, LATE = 30, 10, 3  # Hz; images between two detected ones; images by which their detections are late
CAN = Cylinder(0.033, 0.11)
CANS = Body("left", "can", CAN, (0.0, 0.15, 0.0), "red"), Body("right", "can", CAN, (0.0, -0.15, 0.0), "red")
BOX = Body("box", "box", Box((0.08, 0.12, 0.07)), (0.2, 0.0, 0.0), "blue", yaw=0.4)
ARM = Body("arm", "arm", Box((0.05, 0.5, 0.3)), (-0.2, 0.0, 0.0), "grey")
FOLLOWED, HIDDEN, DOUBTED, LOST = TrackState
Scene = Callable[[int], Sequence[Body]]


class Sequenced:
    """A follower before whose camera bodies move."""

    def __init__(self) -> None:
        self.follower = SceneFollower(DepthConfig(), LiftConfig(), 2.0)
        self.count, self.late = 0, list[tuple[int, int, tuple[Detection, ...]]]()
        self.truth: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}  # of the track that was first where a body is

    def play(
        self, images: int, scene: Scene, detected: Callable[[Detection], bool] = lambda _: True, turn: float = 0.0
    ) -> list[tuple[Track, ...]]:
        """Follow some images of bodies; the arm is never detected. Returns the tracks at each."""
        told = []
        for k in range(images):
            bodies, at = tuple(scene(k)), self.count
            angle = turn * k / RATE
            eye = (EYE[0] * np.cos(angle), EYE[0] * np.sin(angle), EYE[2])
            stamp_ns = 1 + at * 1_000_000_000 // RATE
            seen = render(World(bodies), CAMERA, look_at(eye, (0.05, 0.0, 0.03)), stamp_ns)
            self.follower.see(noisy(seen.frame, np.random.default_rng(at)))
            if at % EVERY == 0:
                found = tuple(one for one in seen.detections if one.label != "arm" and detected(one))
                self.late.append((at + LATE, stamp_ns, found))
            while self.late and self.late[0][0] <= at:
                _, stamp_ns, found = self.late.pop(0)
                assert self.follower.found(stamp_ns, found)
            self.truth = {body.id: np.array(body.centre) for body in bodies}
            for track in self.follower.tracks:
                body = min(self.truth, key=lambda name, t=track: float(np.linalg.norm(self.truth[name] - t.position)))
                self.names.setdefault(body, track.id)
            told.append(self.follower.tracks)
            self.count += 1
        return told

    def now(self, body: str) -> Track:
        """The track that first was this body."""
        return next(track for track in self.follower.tracks if track.id == self.names[body])

    def error(self, body: str) -> float:
        """Metres from its position to the truth."""
        return float(np.linalg.norm(self.now(body).position - self.truth[body]))


@pytest.fixture
def scene() -> Sequenced:
    made = Sequenced()
    made.play(2 * EVERY, lambda _: (*CANS, BOX))
    assert set(made.names) == {"left", "right", "box"}
    assert [track.state for track in made.follower.tracks] == [FOLLOWED] * 3
    return made


def moved(body: Body, x: float = 0.0, y: float = 0.0) -> Body:
    return replace(body, position=(body.position[0] + x, body.position[1] + y, body.position[2]))


def test_all_objects_keep_their_ids_and_places_while_the_camera_turns_about_them(scene: Sequenced) -> None:
    told = scene.play(60, lambda _: (*CANS, BOX), turn=0.3)
    assert {track.id for tracks in told for track in tracks} == set(scene.names.values())
    assert all(track.is_sure for tracks in told for track in tracks)
    assert max(scene.error(body) for body in scene.names) < 0.012


@pytest.mark.parametrize("body", range(3))
def test_an_object_that_moves_is_followed_between_detections(scene: Sequenced, body: int) -> None:
    bodies = [*CANS, BOX]
    pushed = bodies[body]
    told = scene.play(
        EVERY * 4, lambda k: [*bodies[:body], moved(pushed, -0.002 * k), *bodies[body + 1 :]], lambda _: False
    )
    assert all(track.state is FOLLOWED for tracks in told for track in tracks)
    assert max(scene.error(each.id) for each in bodies) < 0.02


def test_what_is_taken_away_is_lost_and_what_stays_is_not(scene: Sequenced) -> None:
    scene.play(8, lambda _: (CANS[1], BOX))
    assert scene.now("left").state is LOST
    assert all(scene.now(body).is_sure for body in ("right", "box"))


def test_an_arm_in_front_for_three_seconds_hides_an_object_that_is_itself_afterwards(scene: Sequenced) -> None:
    before = [replace(ARM, shape=Box((0.05, 0.2, 0.3)), position=(-0.2, 0.1, 0.0))]
    scene.play(3 * RATE, lambda _: (*CANS, BOX, *before))
    assert scene.now("left").state is HIDDEN
    assert scene.now("left").covariance[0, 0] > 0.02**2
    scene.play(15, lambda _: (*CANS, BOX))
    assert all(scene.now(body).is_sure for body in ("left", "right"))
    assert scene.error("left") < 0.012


@pytest.mark.parametrize("swapped", [False, True])
def test_twins_that_were_out_of_sight_together_are_in_doubt_whatever_they_did(scene: Sequenced, swapped: bool) -> None:
    scene.play(RATE, lambda _: (*CANS, BOX, ARM))
    assert scene.now("left").state is scene.now("right").state is HIDDEN
    after = (replace(CANS[0], position=CANS[1].position), replace(CANS[1], position=CANS[0].position))
    told = scene.play(2 * RATE, lambda _: (*(after if swapped else CANS), BOX))
    twins = {scene.names["left"], scene.names["right"]}
    for tracks in told:
        assert not any(track.is_sure for track in tracks if track.id in twins)
    assert scene.now("left").candidates == (scene.names["right"],)
    assert scene.now("box").is_sure


def test_a_twin_that_passes_in_front_of_another_swaps_no_ids(scene: Sequenced) -> None:
    told = scene.play(75, lambda k: (moved(CANS[0], -0.12, -0.004 * k), CANS[1], BOX))
    for body in ("left", "right"):
        sure = [track for tracks in told for track in tracks if track.id == scene.names[body] and track.is_sure]
        assert sure
    assert scene.error("right") < 0.02
    assert scene.error("left") < 0.03 or not scene.now("left").is_sure


def test_detections_that_fail_or_merge_lose_nobody(scene: Sequenced) -> None:
    rng = np.random.default_rng(0)
    scene.play(120, lambda _: (*CANS, BOX), lambda _: rng.random() < 0.6)
    assert len(scene.follower.tracks) == 3
    assert all(track.is_sure for track in scene.follower.tracks)


def test_what_is_not_detected_any_more_is_lost_at_last(scene: Sequenced) -> None:
    scene.play(8 * EVERY, lambda _: (*CANS, BOX), lambda one: one.label != "box")
    assert scene.now("box").state is LOST


def test_a_third_twin_is_a_new_object(scene: Sequenced) -> None:
    third = Body("third", "can", CAN, (-0.15, 0.0, 0.0), "red")
    scene.play(3 * EVERY, lambda _: (*CANS, BOX, third))
    assert len(scene.follower.tracks) == 4
    assert all(track.is_sure for track in scene.follower.tracks)


def test_one_that_comes_while_a_twin_is_hidden_may_be_either(scene: Sequenced) -> None:
    before = replace(ARM, shape=Box((0.05, 0.2, 0.3)), position=(-0.2, 0.1, 0.0))
    scene.play(EVERY, lambda _: (*CANS, BOX, before))
    third = Body("third", "can", CAN, (-0.05, -0.02, 0.0), "red")
    scene.play(4 * EVERY, lambda _: (CANS[1], BOX, before, third))
    doubted = [track for track in scene.follower.tracks if track.state is DOUBTED]
    assert scene.names["left"] in {name for track in doubted for name in (track.id, *track.candidates)}
    assert scene.now("right").is_sure


def test_one_of_two_that_come_where_a_lost_twin_may_be_is_no_sure_match(scene: Sequenced) -> None:
    scene.play(EVERY, lambda _: (CANS[1], BOX))
    assert scene.now("left").state is LOST
    new = [Body(f"new{n}", "can", CAN, (y, 0.12 + y, 0.0), "red") for n, y in enumerate((-0.05, 0.06))]
    scene.play(3 * EVERY, lambda _: (CANS[1], BOX, *new))
    assert not scene.now("left").is_sure
    assert scene.now("right").is_sure


def test_time_that_jumps_back_forgets_all_and_uses_no_id_again(scene: Sequenced) -> None:
    scene.count, scene.late, before = 0, [], set(scene.names.values())
    scene.play(3, lambda _: (*CANS, BOX))
    assert scene.follower.tracks == ()
    scene.play(2 * EVERY, lambda _: (*CANS, BOX))
    assert len(scene.follower.tracks) == 3
    assert before.isdisjoint(track.id for track in scene.follower.tracks)


def test_detections_older_than_the_last_taken_do_not_undo_them(scene: Sequenced) -> None:
    ids = {track.id for track in scene.follower.tracks}
    assert not scene.follower.found(1 + 2 * 1_000_000_000 // RATE, ())
    assert {track.id for track in scene.follower.tracks} == ids


def test_detections_of_an_image_that_is_not_kept_are_not_taken(scene: Sequenced) -> None:
    assert not scene.follower.found(5, ())


def test_the_target_of_an_answer_is_the_track_that_is_there_and_moves_with_it_until_it_is_lost(
    scene: Sequenced,
) -> None:
    now, stamp = scene.now("left"), scene.follower.newest_ns
    spread, upright, above = np.eye(6) * 1e-4, np.eye(3), np.array((0.0, 0.0, 0.05))
    between = (now.position + scene.now("right").position) / 2
    assert scene.follower.aim(stamp, "can", between, upright, spread) is None
    assert scene.follower.aimed() == (None, "")
    assert scene.follower.aim(stamp - 10**10, "can", now.position, upright, spread) is None, "its image is not kept"
    assert scene.follower.aim(stamp, "", now.position, upright, spread) is not None
    target = scene.follower.aim(stamp, "can", now.position + above, upright, spread)
    assert target is not None
    assert target.track == now.id
    scene.play(EVERY, lambda k: (moved(CANS[0], -0.003 * k), CANS[1], BOX))
    placement, ended = scene.follower.aimed()
    assert placement is not None
    assert not ended
    assert np.linalg.norm(placement[0] - (scene.truth["left"] + above)) < 0.015
    assert (np.diag(placement[2])[:3] > 1e-4).all(), "the answer's own uncertainty stays"
    scene.play(8, lambda _: (CANS[1], BOX))
    assert scene.follower.aimed() == (None, f"{now.id} is lost")
    assert scene.follower.aimed() == (None, "")
