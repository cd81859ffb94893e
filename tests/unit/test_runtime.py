import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import runtime
from depthweave.errors import WrongInput


def test_choose_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.choose_device() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert runtime.choose_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.choose_device() == torch.device("cuda")


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongInput, match="'toaster' is not a device; use auto"):
        runtime.choose_device("toaster")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert runtime.choose_device("cuda:0") == torch.device("cuda:0")
    for name in ("cuda:1", "mps"):
        with pytest.raises(WrongInput, match=f"no device '{name}'; use auto or cpu"):
            runtime.choose_device(name)


def test_choose_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert runtime.choose_dtype("auto", cpu) == torch.float32
    assert runtime.choose_dtype("bfloat16", cpu) == torch.bfloat16
    for supported, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert runtime.choose_dtype("auto", cuda) == expected
    with pytest.raises(WrongInput, match="'int8' is not a number type"):
        runtime.choose_dtype("int8", cpu)


def test_seeds_reach_every_generator() -> None:
    def draw() -> tuple[float, float, float]:
        runtime.seed_everything(7)
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    assert draw() == draw()


def test_measure_counts_without_the_warm_up() -> None:
    calls = []
    timing = runtime.measure(lambda: calls.append(1), warm_up=2, runs=3)
    assert len(calls) == 5
    assert (timing.runs, timing.device) == (3, "cpu")
    assert 0 <= timing.fastest_s <= timing.median_s < 1


def test_measure_takes_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 10.0, 15.0, 20.0, 22.0])
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(ticks))
    timing = runtime.measure(lambda: None, runs=3)
    assert (timing.fastest_s, timing.median_s) == (1, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_memory_is_in_bytes() -> None:
    peak = runtime.peak_memory_bytes()
    assert peak is not None
    assert 20e6 < peak < 1e12


@pytest.mark.parametrize("show", [True, False, None])
def test_progress_passes_items_on(show: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(runtime.progress(iter("abc"), label="letters", total=3, show=show)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


def test_progress_is_lazy() -> None:
    taken = []
    items = runtime.progress((taken.append(i) or i for i in range(5)), label="numbers", show=False)
    assert next(items) == 0
    assert taken == [0]


def test_available_memory_of_this_machine() -> None:
    found = runtime.available_memory_bytes(torch.device("cpu"))
    assert found is None or 50e6 < found < 1e13


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 8_000 * 1024), ("max", 8_000 * 1024), ("6000000", 4_500_000), ("90000000", 8_000 * 1024)],
)
def test_available_memory_minds_a_container(
    limit: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree:  100 kB\nMemAvailable:   8000 kB\n")
    monkeypatch.setattr(runtime, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(runtime, "CONTAINER", tmp_path)
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("2000000\n")
        (tmp_path / "memory.stat").write_text("anon 1500000\ninactive_file 500000\n")
    assert runtime.available_memory_bytes(torch.device("cpu")) == expected


def test_available_memory_without_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MEMINFO", tmp_path / "missing")
    monkeypatch.setattr(runtime.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert runtime.available_memory_bytes(torch.device("cpu")) == 4_096_000
    monkeypatch.delattr(runtime.os, "sysconf")
    assert runtime.available_memory_bytes(torch.device("cpu")) is None


def test_available_memory_on_cuda_counts_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert runtime.available_memory_bytes(torch.device("cuda")) == 1200
