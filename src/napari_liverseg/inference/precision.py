"""Which number formats a processor computes with at full speed."""

from __future__ import annotations

import torch

FAST_BF16 = ("avx512_bf16", "amx_bf16", "sve_bf16", "arm_bf16", "bf16")
"""Names, in `torch.cpu.get_capabilities`, of instructions that multiply bfloat16."""


def multiplies_bf16(device: str) -> bool:
    """Whether bfloat16 is computed in hardware on a device, and so pays.

    A CPU without such instructions emulates them, some twenty times slower
    than float32.

    Parameters
    ----------
    device : str
        As torch names it.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in FAST_BF16)
