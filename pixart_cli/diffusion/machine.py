"""What this machine has: processor, memory, accelerators. torch is imported when asked, not before."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_LIMIT: Final = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A GPU. `kind` is "cuda" or "mps"; `flops` a rough sustained rate in half precision, None if unknown."""

    kind: str
    index: int
    name: str
    total_bytes: int
    free_bytes: int
    bf16: bool
    flops: float | None = None

    @property
    def device(self) -> str:
        """The name torch and ``--device`` know it by."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What :func:`probe` saw. `architecture` is generic ("x86_64"); memory in bytes."""

    architecture: str
    cores: int
    memory_bytes: int
    free_memory_bytes: int
    cpu_bf16: bool
    accelerators: tuple[Accelerator, ...] = ()
    torch_version: str = ""

    def devices(self) -> tuple[str, ...]:
        """Every device there is, best first."""
        return (*(accelerator.device for accelerator in self.accelerators), "cpu")


def probe() -> Machine:
    """This machine as it is now."""
    import psutil  # type: ignore[import-untyped]
    import torch

    memory = psutil.virtual_memory()
    limit = _cgroup_limit()
    return Machine(
        architecture=platform.machine() or "unknown",
        cores=torch.get_num_threads(),
        memory_bytes=min(memory.total, limit),
        free_memory_bytes=min(memory.available, limit),
        cpu_bf16=cpu_has_bf16(),
        accelerators=(*_cuda(), *_mps()),
        torch_version=torch.__version__,
    )


def _cgroup_limit() -> int:
    """Bytes this container may use; a huge number where there is no limit."""
    for path in _CGROUP_LIMITS:
        try:
            return int(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return _NO_LIMIT


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _cuda() -> tuple[Accelerator, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = _memory_of(index, properties.total_memory)
        bf16 = properties.major >= 8
        # 4096 half-precision operations a cycle and multiprocessor at 1.4 GHz, of which a third is sustained.
        flops = properties.multi_processor_count * 2048 * (2 if properties.major >= 9 else 1) * 1.4e9 / 3
        found.append(
            Accelerator(
                kind="cuda", index=index, name=properties.name, total_bytes=total, free_bytes=free,
                bf16=bf16, flops=flops,
            )
        )  # fmt: skip
    return tuple(found)


def _memory_of(index: int, total: int) -> tuple[int, int]:
    """Free and total bytes of a GPU; one too full to be asked has none free, and stands in no other's way."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError:
        return 0, total
    return free, total


def _mps() -> tuple[Accelerator, ...]:
    import torch

    if not torch.backends.mps.is_available():
        return ()
    try:
        torch.zeros(1, dtype=torch.bfloat16, device="mps")
        bf16 = True
    except (TypeError, RuntimeError):  # before macOS 14
        bf16 = False
    total = int(torch.mps.recommended_max_memory())
    free = total - int(torch.mps.driver_allocated_memory())
    return (
        Accelerator(kind="mps", index=0, name="Apple GPU", total_bytes=total, free_bytes=free, bf16=bf16),
    )
