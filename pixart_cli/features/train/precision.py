"""Mixed precision where it pays."""

from __future__ import annotations

import torch

from pixart_cli.diffusion.machine import cpu_has_bf16


def mixed_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where `device` has hardware for them, else everything in float32.

    A processor without it takes seventy times as long for a product in bfloat16 as in float32.
    """
    if device.type == "cuda":
        pays = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        pays = device.type == "cpu" and cpu_has_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)
