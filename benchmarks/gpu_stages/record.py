"""What a stage found, written down at once; a clock and a gauge of memory that wait for the device."""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
GIB = 1 << 30


class Record:
    """The results of one stage in the JSON file `path`; it has `seconds` on `device`."""

    def __init__(self, path: Path, device: str, seconds: float) -> None:
        self.device = device
        self.on_gpu = device.startswith("cuda")
        self._path = path
        self._began = time.monotonic()
        self._seconds = seconds
        self._found: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._seconds - (time.monotonic() - self._began)

    def put(self, name: str, **values: Any) -> None:
        """Write `values` down under `name` and print them."""
        values = {
            key: round(value, 6) if isinstance(value, float) else value for key, value in values.items()
        }
        self._found[name] = values | {"at": round(time.monotonic() - self._began, 1)}
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(self._found, indent=1, default=str))
        temporary.replace(self._path)
        print(
            f"[{time.monotonic() - self._began:6.1f}] {name}: {json.dumps(values, default=str)}", flush=True
        )

    def attempt(
        self, name: str, measure: Callable[[], dict[str, Any] | None], *, needs: float = 1.0
    ) -> dict[str, Any] | None:
        """What `measure` finds, written down; None where it fails or less than `needs` seconds are left."""
        if self.left < needs:
            self.put(name, skipped=f"{needs:.0f} s needed, {self.left:.0f} left")
            return None
        found = None
        try:
            with torch.inference_mode():
                found = measure()
            if found is not None:
                self.put(name, **found)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next measurement must come
            traceback.print_exc(file=sys.stdout)
            self.put(name, error=f"{type(error).__name__}: {str(error)[:400]}")
        self.clear()
        return found

    def about(self) -> None:
        """Write the machine down."""
        self.attempt("machine", self._machine)

    def _machine(self) -> dict[str, Any]:
        import diffusers
        import transformers

        found = {
            "torch": torch.__version__, "diffusers": diffusers.__version__,
            "transformers": transformers.__version__, "python": sys.version.split()[0],
            "threads": torch.get_num_threads(), "device": self.device,
        }  # fmt: skip
        if self.on_gpu:
            free, total = torch.cuda.mem_get_info()
            found |= {
                "gpu": torch.cuda.get_device_name(), "capability": list(torch.cuda.get_device_capability()),
                "free_GiB": free / GIB, "total_GiB": total / GIB, "cuda": torch.version.cuda,
            }  # fmt: skip
        return found

    def sync(self) -> None:
        """Wait until the device has done all it was told."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def clock(self) -> float:
        """Seconds, when the device has done all it was told."""
        self.sync()
        return time.perf_counter()

    def clear(self) -> None:
        """Give unused memory back."""
        gc.collect()
        if self.on_gpu:
            try:
                torch.cuda.empty_cache()
            except RuntimeError as error:  # a device in trouble says so here again
                print(f"empty_cache: {error}", flush=True)

    def measured(self, work: Callable[[], T]) -> tuple[T, dict[str, float]]:
        """What `work` gives, and its seconds and peaks of memory in GiB."""
        self.clear()
        before = 0
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        started = self.clock()
        result = work()
        found = {"seconds": self.clock() - started}
        if self.on_gpu:
            found |= {
                "peak_GiB": torch.cuda.max_memory_allocated() / GIB,
                "reserved_GiB": torch.cuda.max_memory_reserved() / GIB,
                "before_GiB": before / GIB,
            }
        return result, found
