"""What each model can be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pixart_cli.core.catalog import catalog, default_model, get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import SCHEDULERS
from pixart_cli.core.peers import check_for_model, schedulers_of

PLAIN: dict[str, Any] = {
    "scheduler": None, "refine": "auto", "kv_compression": "off", "guidance_until": None,
}  # fmt: skip


def check(
    model: str, *, lora: bool = False, init_image: bool = False, encoder_bits: int = 16, **changes: Any
) -> None:
    check_for_model(
        PLAIN | changes, get_model(model), lora=lora, init_image=init_image, encoder_bits=encoder_bits
    )


def test_each_default_can_be_drawn() -> None:
    for spec in catalog().values():
        assert spec.default_scheduler in schedulers_of(spec)
        check(spec.name, scheduler=spec.default_scheduler)


def test_the_rule_of_cascade_is_its_own() -> None:
    assert schedulers_of(get_model("cascade")) == ("wuerstchen",)
    assert schedulers_of(get_model("sigma-1024")) == SCHEDULERS[:-1]
    assert "lcm" not in schedulers_of(get_model("sdxl"))
    for model, scheduler in (("sigma-1024", "wuerstchen"), ("cascade", "euler"), ("sdxl", "lcm")):
        with pytest.raises(PixartError, match=f"{model} cannot be drawn with scheduler") as caught:
            check(model, scheduler=scheduler)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("--lora", {"lora": True}),
        ("--init-image", {"init_image": True}),
        ("--direct", {"refine": "direct"}),
        ("--kv-compression", {"kv_compression": "2"}),
        ("--encoder-bits", {"encoder_bits": 8}),
        ("--guidance-until", {"guidance_until": 0.5}),
    ],
)
def test_what_is_pixarts_alone(option: str, changes: dict[str, Any]) -> None:
    check("sigma-1024", **changes)
    for model in ("sdxl", "cascade"):
        with pytest.raises(PixartError, match=option) as caught:
            check(model, **changes)
        assert caught.value.code == "request-invalid"


def test_they_draw_only_when_they_are_named() -> None:
    assert default_model(["mini", "sdxl", "cascade"], 1024, 1024) == "mini"
    assert default_model(["sigma-256", "sdxl"], 1024, 1024) == "sigma-256"
