"""Clocks and memory for the benchmarks, on a CPU and on a GPU."""

import contextlib
import ctypes
import gc
import statistics
import threading
import time
from typing import Any

import psutil
import torch


def synchronize() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def return_freed_memory() -> None:
    """Return freed memory to the system where the C library can, so that resident memory is memory in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class PeakMemory:
    """The peak memory of a block beyond what was in use before: allocated memory on a GPU, else resident memory."""

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.base = torch.cuda.memory_allocated()
            return self
        return_freed_memory()
        self.process, self.running = psutil.Process(), True
        self.base = self.peak = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def _sample(self) -> None:
        while self.running:
            self.peak = max(self.peak, self.process.memory_info().rss)
            time.sleep(0.002)

    def __exit__(self, *_: Any) -> None:
        if torch.cuda.is_available():
            self.peak = torch.cuda.max_memory_allocated()
            return
        self.running = False
        self.thread.join()

    @property
    def bytes(self) -> int:
        return self.peak - self.base


def measure_rate(device: str, dtype: torch.dtype) -> float:
    """Measure the operations per second of a large matrix product, which is the best that the machine can do."""
    size = 8192 if device == "cuda" else 2048  # a GPU needs more to be busy
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = synchronize()
        left @ right
        seconds.append(synchronize() - start)
    return 2 * size**3 / statistics.median(seconds[3:])
