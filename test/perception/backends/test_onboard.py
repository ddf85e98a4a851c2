# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out, time that runs out and numbers that are none, on a real network of torch."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception.backends.devices import is_out_of_memory
from spatial_vlm_ros.perception.backends.onboard import (
    LEAST_LONGEST_PX,
    PRESETS,
    Rung,
    Runner,
    RuntimeSettings,
    capped,
    check_finite,
    settings,
)

PIXELS_PER_SIDE = 8  # of the image for each pixel that the small network sees


class Bench:
    """A convolution that runs out of memory above a number of values, as a hook on its forward pass has it."""

    def __init__(self, most_values: float = math.inf, **fields: object) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
        self.network.register_forward_pre_hook(self.allocate)
        self.most_values, self.seen, self.held = most_values, [], weakref.WeakSet()
        self.now = 0.0
        chosen = RuntimeSettings("cpu", "float32", **{"batch": 4, "longest_px": 1024, **fields})  # type: ignore[arg-type]
        self.runner = Runner("bench", chosen, clock=lambda: self.now)

    def allocate(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.seen.append(tuple(inputs[0].shape))
        assert not self.held, "tensors of the attempt before are still held"
        if inputs[0].numel() > self.most_values:
            workspace = torch.zeros(1000)
            self.held.add(workspace)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, items: Sequence[float], longest_px: int) -> list[float]:
        side = longest_px // PIXELS_PER_SIDE
        values = torch.tensor(items, dtype=self.runner.dtype).view(-1, 1, 1, 1).expand(-1, 1, side, side)
        assert torch.is_inference_mode_enabled()
        return self.network(values).mean((1, 2, 3)).tolist()

    def batches(self) -> list[int]:
        return [shape[0] for shape in self.seen]


def values_at(px: int) -> int:
    return (px // PIXELS_PER_SIDE) ** 2


# ------------------------------------------------------------------------------------------------ memory


def test_items_go_through_in_batches_and_keep_their_order() -> None:
    bench = Bench()
    items = [float(n) for n in range(10)]
    results = bench.runner.over(items, bench.forward)
    assert bench.batches() == [4, 4, 2]
    single = Bench(batch=1)
    assert results == pytest.approx([single.runner.over([item], single.forward)[0] for item in items])
    assert len(set(results)) == 10


def test_out_of_memory_makes_batches_smaller_and_loses_nothing() -> None:
    plenty, tight = Bench(), Bench(most_values=2 * values_at(1024))
    items = [3.0, 1.0, 4.0, 1.5, 9.0]
    assert tight.runner.over(items, tight.forward) == pytest.approx(plenty.runner.over(items, plenty.forward))
    assert tight.batches() == [4, 2, 2, 1]


def test_then_the_image_gets_smaller() -> None:
    bench = Bench(most_values=values_at(600))
    assert len(bench.runner.over([1.0, 2.0], bench.forward)) == 2
    assert [shape[2] * PIXELS_PER_SIDE for shape in bench.seen] == [1024, 1024, 1024, 768, 576, 576]


def test_a_model_of_one_size_is_not_asked_for_a_smaller_image() -> None:
    bench = Bench(most_values=0)
    bench.runner.resizes = False
    with pytest.raises(ModelError, match="out of memory"):
        bench.runner.over([1.0], bench.forward)
    assert {shape[2] for shape in bench.seen} == {1024 // PIXELS_PER_SIDE}


def test_at_the_bottom_the_error_says_what_was_tried() -> None:
    bench = Bench(most_values=0, batch=2, longest_px=300)
    with pytest.raises(ModelError) as raised:
        bench.runner.over([1.0, 2.0], bench.forward)
    assert "batch 2 at 300 px, batch 1 at 300 px, batch 1 at 256 px" in raised.value.reason
    assert raised.value.model == "bench"
    assert "smaller model" in raised.value.repair


def test_running_out_of_memory_neither_spoils_nor_shrinks_the_next_request() -> None:
    bench, plenty = Bench(most_values=0), Bench()
    with pytest.raises(ModelError):
        bench.runner.over([1.0, 2.0], bench.forward)
    bench.most_values = values_at(1024)
    bench.runner.over([1.0, 2.0], bench.forward)
    bench.most_values, bench.seen = math.inf, []
    assert bench.runner.over([1.0, 2.0], bench.forward) == plenty.runner.over([1.0, 2.0], plenty.forward)
    assert bench.seen == plenty.seen


def test_warming_up_finds_what_fits_and_requests_start_there() -> None:
    bench = Bench(most_values=2 * values_at(1024))
    bench.runner.warm_up([0.0] * 4, bench.forward)
    assert bench.runner.top == Rung(2, 1024)
    bench.seen = []
    bench.runner.over([1.0] * 4, bench.forward)
    assert bench.batches() == [2, 2]


def test_a_failure_to_allocate_is_known_as_such() -> None:
    for fail in (lambda: torch.empty(1 << 56, dtype=torch.uint8), lambda: bytearray(1 << 62)):
        with pytest.raises((RuntimeError, MemoryError)) as raised:
            fail()
        assert is_out_of_memory(raised.value)
    for words, memory in (
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("NVML_SUCCESS == r INTERNAL ASSERT FAILED", True),
        ("CUDA error: device-side assert triggered", False),
    ):
        assert is_out_of_memory(RuntimeError(words)) is memory
    assert not is_out_of_memory(ValueError("out of memory"))


def test_another_failure_is_a_model_error_at_once() -> None:
    bench = Bench()

    def wrong_shape(items: Sequence[float], _: int) -> list[float]:
        return bench.network(torch.zeros(len(items), 3, 8, 8)).tolist()

    with pytest.raises(ModelError, match="RuntimeError"):
        bench.runner.over([1.0], wrong_shape)
    assert len(bench.seen) == 1


def test_a_forward_that_loses_items_is_a_model_error_and_nothing_asked_runs_nothing() -> None:
    bench = Bench()
    assert bench.runner.over([], bench.forward) == []
    assert not bench.seen
    with pytest.raises(ModelError, match="1 results for 3 items"):
        bench.runner.over([1.0, 2.0, 3.0], lambda items, px: bench.forward(items, px)[:1])


# ------------------------------------------------------------------------------------------------ time


def test_the_budget_is_checked_between_batches_and_each_request_has_its_own() -> None:
    bench = Bench(batch=1, budget_s=2.5)
    bench.network.register_forward_hook(lambda *_: setattr(bench, "now", bench.now + 1.0))
    with pytest.raises(ModelTimeoutError, match=r"3 of 5 items"):
        bench.runner.over([1.0] * 5, bench.forward)
    assert len(bench.seen) == 3
    for _ in range(3):
        assert len(bench.runner.over([1.0, 2.0], bench.forward)) == 2


def test_the_ladder_ends_with_the_budget() -> None:
    bench = Bench(most_values=0, budget_s=1.5)
    bench.network.register_forward_pre_hook(lambda *_: setattr(bench, "now", bench.now + 1.0), prepend=True)
    with pytest.raises(ModelTimeoutError, match="0 of 4 items"):
        bench.runner.over([1.0] * 4, bench.forward)


def test_warming_up_has_no_budget_and_tells_its_time() -> None:
    bench = Bench(batch=1, budget_s=0.5)
    bench.network.register_forward_hook(lambda *_: setattr(bench, "now", bench.now + 7.0))
    assert bench.runner.warm_up([0.0, 0.0], bench.forward) == 14.0


# ------------------------------------------------------------------------------------------------ numbers


def test_outputs_that_are_no_numbers_are_refused() -> None:
    check_finite("bench", boxes=torch.zeros(3))
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(ModelError, match="1 of 3 numbers of its boxes"):
            check_finite("bench", boxes=torch.tensor([0.0, wrong, 1.0]))


# ------------------------------------------------------------------------------------------------ settings


@given(st.integers(1, 64), st.integers(LEAST_LONGEST_PX, 4096))
def test_the_ladder_always_goes_down_and_ends(batch: int, longest_px: int) -> None:
    rung: Rung | None = Rung(batch, longest_px)
    seen = []
    while rung is not None:
        seen.append((rung.batch, rung.longest_px))
        rung = rung.lower()
    assert seen == sorted(set(seen), reverse=True)
    assert seen[-1] == (1, LEAST_LONGEST_PX)
    assert len(seen) < 30


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(LEAST_LONGEST_PX, 4096))
def test_a_size_is_scaled_as_a_whole_and_never_up(short: int, long: int, longest_px: int) -> None:
    own = {"shortest_edge": min(short, long), "longest_edge": max(short, long)}
    made = capped(own, longest_px)
    assert made["longest_edge"] <= min(longest_px, own["longest_edge"])
    assert made["shortest_edge"] <= own["shortest_edge"]
    if own["longest_edge"] <= longest_px:
        assert made == own


def test_presets_are_chosen_by_name_and_changed_by_field() -> None:
    assert settings("jetson-orin") == PRESETS["jetson-orin"]
    changed = settings("cpu", batch="3", budget_s="1.5", warm_up="yes", dtype="")
    assert changed == dataclasses.replace(PRESETS["cpu"], batch=3, budget_s=1.5, warm_up=True)


def test_auto_fits_this_computer_and_cuda_is_refused_where_there_is_none() -> None:
    assert (settings().device == "cpu") is not torch.cuda.is_available()
    if torch.cuda.is_available():
        assert Runner("bench", settings("desktop-cuda")).device.type == "cuda"
    else:
        with pytest.raises(ModelError, match="0 CUDA devices"):
            Runner("bench", settings("desktop-cuda"))


def test_settings_out_of_range_and_unknown_names_are_refused() -> None:
    for name, value in (
        *(("batch", "0"), ("batch", "many"), ("longest_px", "10"), ("warm_up", "perhaps")),
        *(("budget_s", value) for value in ("0", "nan", "inf")),
    ):
        with pytest.raises(InputError, match=name):
            settings("cpu", **{name: value})
    with pytest.raises(UnknownNameError, match="jetson-orin"):
        settings("mainframe")
    with pytest.raises(UnknownNameError, match="longest_px"):
        settings("cpu", size="800")
