"""A sweep covers every row once, whatever the height of a band, and goes on when memory runs out."""

import pytest
import torch

from pixart_cli.diffusion.sweep import Store
from tests.feature_maps import fill

CPU = torch.device("cpu")
NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
)


def copy(rows):
    return lambda start, stop: [rows.read(start, stop) + 1]


@pytest.mark.parametrize("band", [1, 3, 10, 99])
def test_a_sweep_covers_every_row_once(picture, band):
    store = Store(CPU, torch.float32, "device", band)
    source, target = fill(store.rows(10, 4, 3), picture, 10), store.rows(10, 4, 3)
    store.sweep(10, 12, copy(source), into=[target], spent={source: lambda stop: stop})
    with pytest.raises(RuntimeError, match="released"):
        source.read(9, 10)
    assert torch.equal(store.whole(target), picture + 1)


def test_bands_fill_a_fixed_number_of_bytes(monkeypatch):
    seen = []
    store = Store(CPU, torch.bfloat16, "device")
    store.sweep(100, 1 << 19, lambda start, stop: seen.append(stop - start) or [])
    assert seen == [8] * 12 + [4]


class Failing:
    """Work that runs out of memory at the given calls, or at every band higher than `most`."""

    def __init__(self, work, error, at=(), most=None):
        self.work, self.error, self.at, self.most = work, error, at, most
        self.calls = 0

    def __call__(self, start, stop):
        self.calls += 1
        if self.calls in self.at or (self.most is not None and stop - start > self.most):
            raise self.error
        return self.work(start, stop)


@pytest.mark.parametrize("error", NO_MEMORY)
def test_memory_running_out_brings_the_maps_to_the_disk_and_the_sweep_goes_on(
    tmp_path, monkeypatch, picture, error
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    store = Store(CPU, torch.float32, "device", 2)
    source, target = fill(store.rows(10, 4, 3), picture, 4, 6), store.rows(10, 4, 3)
    store.sweep(
        10, 12, Failing(copy(source), error, at=(3,)), into=[target], spent={source: lambda stop: stop}
    )
    assert store.place.tier == "mapped"
    assert torch.equal(store.whole(target), picture + 1)
    assert list(tmp_path.iterdir()) == []


def test_below_the_last_tier_bands_are_halved(picture):
    store = Store(CPU, torch.float32, "mapped", 8)
    source, target = fill(store.rows(10, 4, 3), picture, 10), store.rows(10, 4, 3)
    work = Failing(copy(source), NO_MEMORY[0], most=2)
    store.sweep(10, 12, work, into=[target])
    assert work.calls == 2 + 5
    assert torch.equal(store.whole(target), picture + 1)


def test_when_one_row_does_not_fit_it_is_an_error_of_memory(picture):
    store = Store(CPU, torch.float32, "device", 4)
    with pytest.raises(torch.OutOfMemoryError, match="a row at a time: CUDA out of memory"):
        store.sweep(10, 12, Failing(None, NO_MEMORY[0], most=0))


def test_other_errors_are_not_swallowed():
    store = Store(CPU, torch.float32, "device")
    with pytest.raises(RuntimeError, match="size mismatch"):
        store.sweep(10, 12, Failing(None, RuntimeError("size mismatch"), most=0))


def test_a_half_finished_band_is_undone(picture):
    store = Store(CPU, torch.float32, "device", 5)
    first, second = store.rows(10, 4, 3), store.rows(10, 4, 3)
    trouble = [MemoryError()]

    def work(start, stop):
        yield picture[:, :, start:stop]
        if start and trouble:
            raise trouble.pop()
        yield picture[:, :, start:stop] * 2

    store.sweep(10, 12, lambda start, stop: list(work(start, stop)), into=[first, second])
    assert torch.equal(store.whole(first), picture)
    assert torch.equal(store.whole(second), picture * 2)


def test_attempt_does_the_work_again():
    store = Store(CPU, torch.float32, "device")
    trouble = [MemoryError()]

    def work():
        if trouble:
            raise trouble.pop()
        return 7

    assert store.attempt(work) == 7
    assert store.place.tier == "mapped"
    with pytest.raises(torch.OutOfMemoryError, match="memory ran out on cpu"):
        store.attempt(lambda: Failing(None, MemoryError(), at=(1,))(0, 1))
