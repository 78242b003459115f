"""The stream: what is read ahead, by how many readers, and where a failure surfaces."""

from __future__ import annotations

import gc
import queue
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmscope.architectures import Part
from lmscope.checkpoints import CheckpointError, TensorStream, file_bytes, open_checkpoint


def parts(tmp_path: Path, count: int) -> list[Part]:
    save_file({str(i): np.full((2, 2), i, np.float32) for i in range(count)}, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    return [checkpoint._part(info.name) for info in checkpoint]


class Reads:
    """Records what is read; each read ends at once."""

    def __init__(self) -> None:
        self.started: queue.Queue[str] = queue.Queue()

    def __call__(self, name: str) -> np.ndarray:
        assert threading.current_thread().name.startswith("lmscope-read")
        self.started.put(name)
        return np.full((2, 2), float(name))

    def new(self, count: int) -> set[str]:
        """The next ``count`` reads, and no more."""
        names = {self.started.get(timeout=10) for _ in range(count)}
        with pytest.raises(queue.Empty):
            self.started.get(timeout=0.05)
        return names


@pytest.mark.parametrize(
    ("sizes", "budget", "steps"),
    [
        pytest.param([16] * 5, 0, ["", "0", "1", "2", "3", "4"], id="none"),
        pytest.param([16] * 5, 48, ["012", "3", "4", "", "", ""], id="as many as fit"),
        pytest.param([16, 64, 16, 16], 32, ["0", "", "123", "", ""], id="a large one when its turn comes"),
        pytest.param([16, 16, 64, 16], 96, ["012", "3", "", "", ""], id="exactly the budget"),
    ],
)
def test_read_ahead_stays_within_its_budget(
    tmp_path: Path, sizes: list[int], budget: int, steps: list[str]
) -> None:
    """``steps``: what starts to be read at construction, and at each ``next``."""
    reads = Reads()
    nbytes: Callable[[str], int] = lambda name: sizes[int(name)]  # noqa: E731
    with TensorStream(parts(tmp_path, len(sizes)), reads, nbytes, read_ahead_bytes=budget) as stream:
        assert reads.new(len(steps[0])) == set(steps[0])
        for number, started in enumerate(steps[1:]):
            if number < len(sizes):
                info, array = next(stream)
                assert (info.name, array[0, 0]) == (str(number), number)
            assert reads.new(len(started)) == set(started)


def test_slow_reads_overlap(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=10)

    def read(name: str) -> np.ndarray:
        together.wait()  # ends only when four reads are under way
        return np.full((2, 2), float(name))

    with TensorStream(parts(tmp_path, 8), read, lambda name: 16) as stream:
        assert [array[0, 0] for _, array in stream] == list(range(8))


def test_close_ends_the_readers(tmp_path: Path) -> None:
    before = threading.active_count()
    stream = TensorStream(parts(tmp_path, 4), lambda name: np.zeros((2, 2)), lambda name: 16)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before
    assert list(stream) == []


def test_a_failed_read_surfaces_at_its_tensor_and_the_rest_goes_on(tmp_path: Path) -> None:
    def read(name: str) -> np.ndarray:
        if name in ("1", "2"):
            raise CheckpointError("disk on fire", file="model.safetensors", tensor=name)
        return np.full((2, 2), float(name))

    good, bad = [], []
    with TensorStream(parts(tmp_path, 5), read, lambda name: 16) as stream:
        while True:
            try:
                info, array = next(stream)
                good.append((info.name, array[0, 0]))
            except CheckpointError as error:
                bad.append((error.tensor, str(error)))
            except StopIteration:
                break
    assert good == [("0", 0), ("3", 3), ("4", 4)]
    assert bad == [(n, f"model.safetensors: tensor {n}: disk on fire") for n in ("1", "2")]


def test_a_failed_read_keeps_nothing_of_what_it_read(tmp_path: Path) -> None:
    class Buffer:
        pass

    buffers = []

    def read(name: str) -> np.ndarray:
        buffer = Buffer()
        buffers.append(weakref.ref(buffer))
        raise CheckpointError("disk on fire", file="model.safetensors", tensor=name)

    gc.disable()
    try:
        with TensorStream(parts(tmp_path, 3), read, lambda name: 16, read_ahead_bytes=0) as stream:
            for _ in range(3):
                with pytest.raises(CheckpointError, match="disk on fire"):
                    next(stream)
            assert [buffer() for buffer in buffers[:-1]] == [None, None]
    finally:
        gc.enable()


def test_parts_of_one_tensor_come_from_one_read(tmp_path: Path) -> None:
    reads = Reads()
    one, *_ = parts(tmp_path, 1)
    with TensorStream([one, one, one], reads, lambda name: 16) as stream:
        assert len(list(stream)) == 3
    assert reads.new(1) == {"0"}


@pytest.mark.parametrize(("sizes", "budget"), [([4] * 8, 9), ([4, 4, 12, 4, 4], 6), ([4] * 6, 0)])
def test_memory_is_the_tensor_in_hand_and_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], budget: int
) -> None:
    """Sizes in megabytes."""
    monkeypatch.setattr(file_bytes, "MAPPED_BYTES", 2**60)  # tracemalloc sees no mapped memory
    tensors = {f"{n}": np.ones((size, 250_000), np.float32) for n, size in enumerate(sizes)}
    save_file(tensors, tmp_path / "model.safetensors")
    del tensors
    checkpoint = open_checkpoint(tmp_path)
    tracemalloc.start()
    try:
        with checkpoint.stream(read_ahead_bytes=budget * 10**6) as stream:
            for _info, array in stream:
                del array
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= (max(sizes) + budget + 1) * 10**6
