# SPDX-License-Identifier: Apache-2.0
"""What the built-in planner promises, judged by MuJoCo on the same URDF; when it refuses; curves and times."""

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tables import called, tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ACCELERATION, HOME, description, panda
from spatial_vlm_ros.manipulation.builtin_planner.path import rounded, through, timed
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, MotionRequest, Segment

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
GRIPPING = {"panda_hand", "panda_leftfinger", "panda_rightfinger", "held"}
WRIST = {"panda_hand", "panda_leftfinger", "panda_rightfinger", "panda_link6", "panda_link7"}


@pytest.fixture(scope="module", params=SEEDS)
def picked(request: Any, bench: Any, planner: Any) -> tuple[Any, Any]:
    """A request among nine boxes on a table, and its motion."""
    asked = bench.pick(bench.clutter(request.param), seed=request.param, time_limit=60.0)
    return asked, planner.plan(asked)


def angle(one: Any, two: Any) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(one[:3, :3].T @ two[:3, :3]) - 1) / 2, -1, 1))))


def test_every_segment_ends_at_its_goal_and_begins_where_the_last_one_ended(picked: Any, witness: Any) -> None:
    asked, motion = picked
    judge = witness(asked.boxes, None)
    here = asked.start
    for segment, trajectory in zip(asked.segments, motion.trajectories, strict=True):
        assert trajectory.positions[0] == pytest.approx(here, abs=1e-9)
        here = trajectory.positions[-1]
        judge.place(here, segment.opening)
        assert np.linalg.norm(judge.tip()[:3, 3] - segment.goal[:3, 3]) < 0.001
        assert angle(judge.tip(), segment.goal) < 0.5


def assert_apart(asked: Any, motion: Any, witness: Any, between: Any) -> None:
    """Nothing touches but what may; 5 mm are left of the centimetre of padding."""
    for segment, trajectory in zip(asked.segments, motion.trajectories, strict=True):
        judge = witness(asked.boxes, segment.held)
        for joints in between(trajectory):
            judge.place(joints, segment.opening)
            for (one, two), away in judge.nearest().items():
                pair = {one, two}
                if pair & GRIPPING and pair & set(segment.touch):
                    continue  # the hand and what it may touch
                if "held" in pair and pair & (set(segment.held_touch) | WRIST):
                    continue
                least = 0.005 if pair & judge.boxes else 0.0
                assert away > least, f"{one} and {two}: {away:.4f} m"


def test_nothing_touches_but_what_may_where_it_may(picked: Any, witness: Any, between: Any) -> None:
    asked, motion = picked
    assert_apart(asked, motion, witness, between)
    judge = witness(asked.boxes, None)
    nearest = [np.inf, np.inf]  # to the target, on the way to above it and on the way down
    for number in (0, 1):
        for joints in between(motion.trajectories[number]):
            judge.place(joints, asked.segments[number].opening)
            away = [away for pair, away in judge.nearest().items() if "target" in pair]
            nearest[number] = min([nearest[number], *away])
    assert nearest[0] > 0.005
    assert nearest[1] < 0.03  # between the fingers


def test_straight_segments_are_straight(picked: Any, witness: Any, between: Any) -> None:
    asked, motion = picked
    judge = witness(asked.boxes, None)
    for k in (1, 2):
        a, b = asked.segments[k - 1].goal, asked.segments[k].goal
        way = b[:3, 3] - a[:3, 3]
        for joints in between(motion.trajectories[k]):
            judge.place(joints, 0.08)
            off = judge.tip()[:3, 3] - a[:3, 3]
            off = off - way * np.clip(off @ way / (way @ way), 0, 1)
            assert np.linalg.norm(off) < 0.001
            assert angle(judge.tip(), a) < 0.5


def test_positions_velocities_and_accelerations_keep_their_limits(picked: Any, witness: Any) -> None:
    asked, motion = picked
    velocity = np.array([2.175] * 4 + [2.61] * 3)  # as the URDF says
    acceleration = np.array([3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0])  # as the document says
    limits = witness(asked.boxes, None).model.jnt_range[:7]
    for t in motion.trajectories:
        assert t.names == tuple(f"panda_joint{k}" for k in range(1, 8))
        assert (t.positions >= limits[:, 0]).all()
        assert (t.positions <= limits[:, 1]).all()
        assert (np.abs(t.velocities) <= velocity + 1e-9).all()
        assert (np.abs(t.accelerations) <= acceleration + 1e-9).all()
        assert t.velocities[[0, -1]] == pytest.approx(0, abs=1e-6)
        apart = np.diff(t.times)
        assert (apart > 0).all()
        # What the positions themselves say, by differences between points.
        assert (np.abs(np.diff(t.positions, axis=0)) <= velocity * apart[:, None] * 1.001).all()
        assert (np.abs(np.diff(t.velocities, axis=0)) <= acceleration * apart[:, None] * 1.001).all()


def test_the_same_seed_is_the_same_trajectory_and_half_the_velocity_doubles_its_time(bench: Any, planner: Any) -> None:
    asked = bench.pick(bench.clutter(1), seed=7, time_limit=60.0)
    one = planner.plan(asked)
    planner.plan(bench.pick(bench.clutter(2), seed=8, time_limit=60.0))
    two = planner.plan(asked)
    slow = planner.plan(dataclasses.replace(asked, velocity_scaling=0.5, acceleration_scaling=0.25))
    for a, b, c in zip(one.trajectories, two.trajectories, slow.trajectories, strict=True):
        assert np.array_equal(a.times, b.times)
        assert np.array_equal(a.positions, b.positions)
        assert c.times[-1] == pytest.approx(2 * a.times[-1], rel=1e-6)


@pytest.mark.parametrize(("velocity", "acceleration"), [(0.3, 0.3), (1.0, 0.3), (0.3, 1.0)])
def test_each_factor_scales_its_own_limit_once(velocity: float, acceleration: float, bench: Any, planner: Any) -> None:
    """With 0.3 the greatest acceleration of a motion is 0.3 of the limit; 0.09 is what two scalings leave."""
    asked = bench.pick(bench.clutter(1), seed=7, time_limit=60.0)
    motion = planner.plan(dataclasses.replace(asked, velocity_scaling=velocity, acceleration_scaling=acceleration))
    hardest = [(np.abs(t.accelerations) / ACCELERATION).max() for t in motion.trajectories]
    fastest = [(np.abs(t.velocities) / planner.robot.velocity).max() for t in motion.trajectories]
    assert max(hardest) == pytest.approx(acceleration, rel=0.02)
    assert max(hardest) <= acceleration + 1e-9
    assert max(fastest) <= velocity + 1e-9
    if velocity <= 0.3:  # slow enough for joints to get there
        assert max(fastest) == pytest.approx(velocity, rel=0.02)


def test_a_way_round_a_wall_is_found(bench: Any, planner: Any, witness: Any, between: Any) -> None:
    wall = bench.box("wall", (0.55, 0.0, 0.2), (0.5, 0.03, 0.4))
    goals = [Segment(bench.down(0.5, side * 0.35, 0.2)) for side in (1, -1)]
    asked = MotionRequest(HOME, goals, [bench.table(), wall], seed=3, time_limit=60)
    motion = planner.plan(asked)
    assert_apart(asked, motion, witness, between)
    judge = witness(asked.boxes, None)
    # The straight way in joint space goes through the wall.
    one, two = (trajectory.positions[-1] for trajectory in motion.trajectories)
    through_wall = []
    for part in np.linspace(0, 1, 50):
        judge.place(one + (two - one) * part, 0.08)
        through_wall += [away for pair, away in judge.nearest().items() if "wall" in pair]
    assert min(through_wall) < 0


UNDECIDED = 1e-3  # metres: nearer than this to touching, the two may differ
BENIGN = {"panda_link6", "panda_link7", "panda_hand", "panda_leftfinger", "panda_rightfinger"}


@pytest.mark.parametrize("holding", [False, True])
def test_the_checker_and_mujoco_agree(holding: bool, bench: Any, planner: Any, witness: Any) -> None:
    boxes = [dataclasses.replace(box, padding=0.0) for box in bench.clutter(5)]
    held = HeldBox("held", np.eye(4), np.array([0.05, 0.05, 0.2])) if holding else None
    checker = Checker(planner.robot, boxes, Segment(np.eye(4), held=held))
    judge = witness(boxes, held)
    draw = np.random.default_rng(0)
    judged = {True: 0, False: 0}
    for _ in range(400):
        joints = draw.uniform(planner.robot.lower, planner.robot.upper)
        judge.place(joints, 0.08)
        assert planner.tip(joints) == pytest.approx(judge.tip(), abs=1e-9)
        pairs = {pair: away for pair, away in judge.nearest().items() if not ("held" in pair and BENIGN & set(pair))}
        least = min(pairs.values(), default=np.inf)
        if abs(least) > UNDECIDED:
            assert checker.free(joints) == (least > 0), min(pairs, key=pairs.__getitem__)
            assert bool(checker.touched(joints)) == (least < 0)
            judged[least > 0] += 1
    assert min(judged.values()) > 50


def test_what_is_seen_of_the_arm_is_in_its_hulls(planner: Any) -> None:
    """The meshes for the eye, which hulls are not made from, stand out of them by less than 2 mm."""
    pinocchio = pytest.importorskip("pinocchio")
    folder, model = description(), planner.robot.model
    with warnings.catch_warnings():  # about having been told where the meshes are
        warnings.simplefilter("ignore")
        seen = pinocchio.buildGeomFromUrdf(
            model, str(folder / "urdf" / "panda.urdf"), pinocchio.GeometryType.VISUAL, [str(folder.parents[2])]
        )
    data, placed = model.createData(), seen.createData()
    draw = np.random.default_rng(0)
    for joints in (HOME, *draw.uniform(planner.robot.lower, planner.robot.upper, (3, 7))):
        pinocchio.updateGeometryPlacements(model, data, seen, placed, np.append(joints, [0.01, 0.01]))
        links = {link.name: link for link in panda().link_hulls(joints, 0.02)}
        for part, base_T_part in zip(seen.geometryObjects, placed.oMg, strict=True):
            link = links.pop(model.frames[part.parentFrame].name)
            assert link.base_T_link.parent == "panda_link0"
            vertices = np.asarray(part.geometry.vertices()) @ base_T_part.rotation.T + base_T_part.translation
            away = link.hull.outside_by(link.base_T_link.inverse().apply(vertices))
            assert len(vertices) > 100
            assert away.max() < 0.002
            assert away.min() < -0.005
        assert links == {}


@pytest.mark.usefixtures("planner")
def test_joints_and_openings_that_are_none_are_refused() -> None:
    for joints in (np.zeros(6), np.full(7, np.nan), ["a"] * 7):
        with pytest.raises(errors.InputError, match="7 finite joint positions"):
            panda().link_hulls(joints)  # type: ignore[arg-type]
    for opening in (-0.01, 0.09, np.nan):
        with pytest.raises(errors.InputError, match="opening"):
            panda().link_hulls(HOME, opening)


def to(
    bench: Any, *goals: tuple[float, float, float], boxes: Any = (), start: Any = HOME, **more: Any
) -> MotionRequest:
    """A request for goals with the fingers down, on the table and among boxes; `more` of the last segment."""
    segments = [Segment(bench.down(*goal)) for goal in goals]
    segments[-1] = dataclasses.replace(segments[-1], **more)
    return MotionRequest(start, segments, [bench.table(), *boxes], time_limit=60)


def test_a_goal_or_a_line_out_of_reach_is_unreachable(bench: Any, planner: Any) -> None:
    with pytest.raises(errors.UnreachableError) as caught:
        planner.plan(to(bench, (1.3, 0, 0.3)))
    assert (caught.value.status_name, caught.value.segment) == ("UNREACHABLE", 0)
    # Stretched out, the tip is 0.855 m from the shoulder and 0.107 + 0.1034 m of hand (the maker's data sheet) at most.
    assert caught.value.position_error > 1.3 - 0.855 - 0.211
    with pytest.raises(errors.UnreachableError) as caught:
        planner.plan(to(bench, (0.6, 0, 0.3), (1.3, 0, 0.3), straight=True))
    assert caught.value.segment == 1


@pytest.mark.parametrize("start", [(2.7, -1.3, 1.4, -2.3, -1.4, 2.0, 2.85), (-0.9, -1.6, 1.6, -2.2, -1.8, 2.5, 2.85)])
def test_a_line_whose_curve_leaves_the_range_of_a_joint_is_refused(planner: Any, start: tuple[float, ...]) -> None:
    """Each of its points is within the range; the curve through them is 0.017 and 0.011 rad beyond what is kept."""
    goal = planner.tip(np.array(start))
    goal[:3, :3] = goal[:3, :3] @ [[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]]
    goal[2, 3] += 0.05
    with pytest.raises(errors.NoPathError, match="a joint comes to its limit"):
        planner.plan(MotionRequest(np.array(start), [Segment(goal, straight=True)], [], time_limit=60))


def test_a_walled_in_goal_fails_after_the_time_limit_or_when_it_is_cancelled(bench: Any, planner: Any) -> None:
    planner.plan(dataclasses.replace(bench.cage(60.0), boxes=[bench.table()]))  # nothing but the chest is in the way
    with pytest.raises(errors.NoPathError, match="no path in 1 s") as caught:
        planner.plan(bench.cage(1.0))
    assert caught.value.status_name == "PLANNING_FAILED"
    looks = itertools.count()
    with pytest.raises(errors.CancelledError):
        planner.plan(bench.cage(600.0), lambda: next(looks) > 30)  # from some time on while the search goes on


def test_what_takes_the_goal_or_the_start_or_blocks_a_line_is_named(bench: Any, planner: Any) -> None:
    taken = bench.box("crate", (0.5, 0, 0.2), (0.3, 0.3, 0.4))
    with pytest.raises(errors.NoPathError) as caught:
        planner.plan(to(bench, (0.5, 0, 0.2), boxes=[taken]))
    assert "crate" in caught.value.touched
    around = bench.box("crate", planner.tip(HOME)[:3, 3], (0.2, 0.2, 0.2))
    with pytest.raises(errors.NoPathError, match="too close") as caught:
        planner.plan(dataclasses.replace(to(bench, (0.5, 0.2, 0.2)), boxes=[around]))
    assert caught.value.touched == ("crate",)
    boxes = [dataclasses.replace(box, padding=0.03) if box.id == "target" else box for box in bench.clutter(0)]
    asked = bench.pick(boxes, time_limit=60)
    over, grasp, lift = asked.segments
    for segments, number, touched in (
        ([over, dataclasses.replace(grasp, touch=frozenset()), lift], 1, "target"),
        ([over, grasp, dataclasses.replace(lift, held_touch=frozenset())], 2, "table"),
    ):
        with pytest.raises(errors.NoPathError) as caught:
            planner.plan(dataclasses.replace(asked, segments=segments))
        assert (caught.value.segment, caught.value.touched) == (number, (touched,))


@pytest.mark.parametrize(
    ("centre", "size", "depth"),
    [
        ((0.0, 0.0, 0.07), (0.05, 0.05, 0.1), "0.09"),
        ((0.12, 0.0, 0.05), (0.2, 0.2, 0.1), "0.05"),
        ((0.5, 0.0, 0.03), (1.2, 1.6, 0.04), "0.05"),
    ],
    ids=["a mug in the middle of it", "a crate from the front", "a table told 5 cm too high"],
)
def test_a_box_in_the_base_is_refused_by_name(bench: Any, planner: Any, centre: Any, size: Any, depth: str) -> None:
    wrong = bench.box("wrong", centre, size)
    asked = dataclasses.replace(to(bench, (0.5, 0.2, 0.3)), boxes=[wrong])
    with pytest.raises(
        errors.StandsWrongError, match=rf"base is {depth}\d* m inside an obstacle \(wrong\)\. .*TF"
    ) as caught:
        planner.plan(asked)
    assert (caught.value.touched, caught.value.status_name) == (("wrong",), "PLANNING_FAILED")
    planner.plan(dataclasses.replace(asked, boxes=[bench.box("wrong", np.add(centre, (1.0, 0.0, 0.0)), size)]))


def test_what_the_base_stands_on_may_touch_it_or_reach_into_it_where_that_is_said(bench: Any, planner: Any) -> None:
    for up in (-0.001, 0.0, 0.015):
        table = bench.box("table", (0.5, 0.0, up - 0.02), (1.2, 1.6, 0.04))
        planner.plan(dataclasses.replace(to(bench, (0.5, 0.2, 0.3)), boxes=[table]))
    stand = to(bench, (0.5, 0.2, 0.3), boxes=[bench.box("stand", (-0.05, 0.0, -0.02), (0.3, 0.3, 0.14))])
    with pytest.raises(errors.StandsWrongError):
        planner.plan(stand)
    planner.plan(dataclasses.replace(stand, stands_on={"stand"}))


def test_a_start_beyond_limits_or_of_another_arm_and_a_wrong_opening_are_refused(bench: Any, planner: Any) -> None:
    for changed, words in (
        ({"start": np.degrees(HOME)}, "beyond its limits"),
        ({"start": HOME[:6]}, r"6 positions\. Expected 7"),
        ({"opening": 0.2}, r"0\.2. Expected 0 to 0\.08 m"),
    ):
        with pytest.raises(errors.InputError, match=words):
            planner.plan(to(bench, (0.5, 0, 0.3), **changed))


GIVEN: dict[str, Callable[..., Any]] = {
    "MotionRequest": lambda given: MotionRequest(**({"start": HOME, "segments": [Segment(np.eye(4))]} | given)),
    "Segment": lambda given: Segment(**({"goal": np.eye(4)} | given)),
    "BoxObstacle": lambda given: BoxObstacle(**({"id": "a", "pose": np.eye(4), "size": np.ones(3)} | given)),
    "HeldBox": lambda given: HeldBox("a", np.eye(4), **given),
    "given": dict,
    "list": lambda *each: list(each),
    "array": lambda *each: np.array(each),
    "twice": lambda: 2 * np.eye(4),
}


@pytest.mark.parametrize(("told", "words"), tables(__file__)["no requests"])
def test_requests_that_make_no_sense_are_refused(told: list[Any], words: str) -> None:
    with pytest.raises(errors.InputError if words else errors.TransformError, match=words or None):
        called(told, GIVEN)


NAMES = ("a", "b")


def fastest(distance: float, velocity: float, acceleration: float) -> float:
    """Seconds of a trapezoid of velocity, or of a triangle where it is too short to reach the limit."""
    if distance < velocity**2 / acceleration:
        return float(2 * np.sqrt(distance / acceleration))
    return distance / velocity + velocity / acceleration


@pytest.mark.parametrize("distance", [0.01, 0.5, 1.9, 2.1, 6.0])
def test_a_straight_line_takes_as_long_as_a_trapezoid(distance: float) -> None:
    path = rounded(np.array([[0.0, 0.0], [distance, 0.3 * distance]]), 0.1)
    t = timed(path, NAMES, np.array([2.0, 9.0]), np.array([2.0, 9.0]))
    assert t.times[-1] == pytest.approx(fastest(distance, 2.0, 2.0), rel=0.01)
    assert t.positions[-1] == pytest.approx([distance, 0.3 * distance])


@pytest.mark.parametrize("seed", range(5))
def test_crooked_paths_keep_their_limits_and_pass_through_their_ends(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corners, velocity, acceleration = draw.uniform(-2, 2, (6, 7)), draw.uniform(1, 3, 7), draw.uniform(2, 5, 7)
    t = timed(rounded(corners, 0.4), tuple("abcdefg"), velocity, acceleration)
    assert t.positions[0] == pytest.approx(corners[0])
    assert t.positions[-1] == pytest.approx(corners[-1])
    apart = np.diff(t.times)[:, None]
    assert (np.abs(np.diff(t.positions, axis=0) / apart) <= velocity * 1.001).all()
    assert (np.abs(np.diff(t.velocities, axis=0) / apart) <= acceleration * 1.001).all()
    # Some limit is reached nearly everywhere: it is no faster only because it cannot be.
    used = np.maximum((np.abs(t.velocities) / velocity).max(1), (np.abs(t.accelerations) / acceleration).max(1))
    assert np.median(used) > 0.9
    legs = np.abs(np.diff(corners, axis=0))
    assert t.times[-1] >= max((legs.sum(0) - 2 * 0.4 * 5) / velocity)
    assert t.times[-1] <= sum(max(map(fastest, leg, velocity, acceleration)) * 3 for leg in legs)


def test_velocities_are_the_slopes_of_positions() -> None:
    corners = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    t = timed(rounded(corners, 0.3), ("a", "b", "c"), np.full(3, 2.0), np.full(3, 3.0))
    middle = (t.positions[2:-1] - t.positions[:-3]) / (t.times[2:-1] - t.times[:-3])[:, None]
    assert middle == pytest.approx(t.velocities[1:-2], abs=3.0 * 0.02)  # an acceleration may change within a step


def test_corners_are_rounded_without_a_kink_and_stay_near() -> None:
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [2, 1]])
    path = rounded(corners, 0.2)
    for knot in path.knots[1:-1]:
        for left, right in zip(path.at(np.array([knot - 1e-9])), path.at(np.array([knot])), strict=True):
            assert left == pytest.approx(right, abs=1e-5)
    points = path.samples(0.001)
    to_corner = np.linalg.norm(points - corners[1], axis=1).min()
    assert 0 < to_corner <= 3 / 16 * np.sqrt(2) * 0.2 + 1e-3
    assert (points.min(), points.max()) == pytest.approx((0.0, 2.0), abs=1e-12)


def test_a_spline_passes_through_its_points_and_follows_a_circle() -> None:
    angles = np.linspace(0, np.pi / 2, 12)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    path = through(points)
    assert path.at(path.knots)[0] == pytest.approx(points)
    assert np.linalg.norm(path.samples(0.01), axis=1) == pytest.approx(1.0, abs=2e-4)


def test_standing_still_takes_no_time() -> None:
    here = np.array([[0.3, 0.4]] * 3)
    for path in (rounded(here, 0.1), through(here)):
        t = timed(path, NAMES, np.ones(2), np.ones(2))
        assert t.times.tolist() == [0.0]
        assert t.positions == pytest.approx(here[:1])
