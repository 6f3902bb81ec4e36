"""One NaN or infinity among many numbers is found."""

import pytest
import torch

from pixart_cli.diffusion.finite import is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_of_many_is_found(value: float, dtype: torch.dtype) -> None:
    numbers = torch.full((3, 5), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(numbers)  # though their sum is not
    numbers[1, 2] = value
    assert not is_finite(numbers)


def test_nothing_holds_no_nan() -> None:
    assert is_finite(torch.zeros(0, 4))
