"""The parent of a picture, and when a strength is allowed."""

from __future__ import annotations

import pytest

from pixart_cli.core.catalog import get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.init_image import Parent, check_init_image, check_init_image_of, strength_of

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize("parent", [Parent(sha256=A), Parent(sha256=A, fingerprint=B)])
def test_a_parent_comes_back_out_of_its_data(parent: Parent) -> None:
    assert Parent.from_dict(parent.to_dict()) == parent


@pytest.mark.parametrize(
    "values", [None, [], {}, {"sha256": 3}, {"sha256": A[:-1]}, {"fingerprint": A}, {"sha256": A, "path": B}]
)
def test_other_data_is_no_parent(values: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        Parent.from_dict(values)


def test_a_request_names_an_init_image_by_its_hash() -> None:
    check_init_image("", "here")
    check_init_image(A, "here")
    with pytest.raises(PixartError, match=r"here: init_image cannot be 'x\.png'") as caught:
        check_init_image("x.png", "here")
    assert caught.value.code == "request-invalid"


def test_the_usual_strength_and_one_that_is_typed() -> None:
    mini, parent = get_model("mini"), Parent(sha256=A)
    assert strength_of(None, None, mini) == 1.0
    assert strength_of(None, parent, mini) == 0.6
    assert strength_of(0.25, parent, mini) == 0.25
    with pytest.raises(PixartError, match="there is none") as caught:
        strength_of(0.25, None, mini)
    assert caught.value.code == "usage"


def test_a_model_of_one_step_starts_from_noise_alone() -> None:
    check_init_image_of(get_model("lcm"))
    with pytest.raises(PixartError, match="dmd cannot start") as caught:
        strength_of(0.5, Parent(sha256=A), get_model("dmd"))
    assert caught.value.code == "request-invalid"
