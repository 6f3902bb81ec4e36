"""Operations of a picture by size, computed: the cascade against sampling the full size at once; and memory.

    python benchmarks/operations.py [--model sigma-1024] [--dtype bfloat16]

Rules of thumb of `pixart_cli/diffusion/estimate.py`, no measurements. The second table has the expected peak
on the device for every rung of the memory ladder; where the decode's maps do not
fit they wait in main memory or in a file.
"""

from __future__ import annotations

import argparse

from pixart_cli.core.catalog import get_model
from pixart_cli.core.refine import AUTO, plan_passes
from pixart_cli.core.resolution import choose_bin
from pixart_cli.diffusion.estimate import Facts, estimate, windows
from pixart_cli.diffusion.rungs import IN_BITS, RUNGS

SIZES = ((1024, 1024), (2048, 2048), (3840, 2160), (4096, 4096), (7680, 4320))
GIB = 1 << 30
COLUMNS = (RUNGS[0], *(("full", word) for word in IN_BITS.values()), *RUNGS[1:])


def row(model: str, dtype: str, width: int, height: int) -> str:
    """One size as a row of a Markdown table."""
    spec = get_model(model)
    native = choose_bin(width, height, spec.native)
    passes = plan_passes(AUTO, spec, native, width, height)
    cascade = estimate(spec, native.width, native.height, dtype, passes)
    direct = estimate(spec, width, height, dtype)
    counts = " + ".join(f"{windows(each, spec.native)} x {each.steps}" for each in passes) or "none"
    return (
        f"| {width}x{height} | {direct.flops / 1e12:,.0f} | {counts} | {cascade.flops / 1e12:,.0f} "
        f"| {direct.flops / cascade.flops:.1f} |"
    )


def memory_row(model: str, dtype: str, width: int, height: int) -> str:
    """The peaks of one size, in GiB."""
    spec = get_model(model)
    native = choose_bin(width, height, spec.native)
    passes = plan_passes(AUTO, spec, native, width, height)
    peaks = dict(estimate(spec, native.width, native.height, dtype, passes).peak_bytes)
    for bits in IN_BITS:
        peaks |= estimate(
            spec, native.width, native.height, dtype, passes, Facts(encoder_bits=bits)
        ).peak_bytes
    return f"| {width}x{height} | " + " | ".join(f"{peaks[rung] / GIB:.1f}" for rung in COLUMNS) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="sigma-1024")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    print("| size | direct, TFLOP | windows x steps | cascade, TFLOP | direct / cascade |")
    print("|---|---|---|---|---|")
    for width, height in SIZES:
        print(row(options.model, options.dtype, width, height))
    print("\n| size, peak in GiB | " + " | ".join(", encoder ".join(rung) for rung in COLUMNS) + " |")
    print("|---|" + "---|" * len(COLUMNS))
    for width, height in SIZES:
        print(memory_row(options.model, options.dtype, width, height))


if __name__ == "__main__":
    main()
