"""Each model draws; one that cannot is passed over; what it took is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixart_cli.core.errors import PixartError
from pixart_cli.core.settings import lay_over
from pixart_cli.features.compare import Comparison, Drawn, Failed, Outcome, draw, plan_comparison, write_sheet
from pixart_cli.features.generate import Order, network
from tests.conftest import StandIn
from tests.toy_peers import install_peer


def planned(folder: Path, models: Sequence[str], **typed: Any) -> Comparison:
    settings = lay_over({"res": "256x128", "seed": 5} | typed, environ={}, cwd=folder)
    return plan_comparison(settings, "a red sun", models, cwd=folder)


def drawn(comparison: Comparison, renderer_of: Any) -> list[Outcome]:
    return list(draw(comparison, renderer_of, force=False, metadata="full", on_progress=lambda _: None))


def test_the_networks_draw_one_after_the_other(toy_peers: dict[str, Path], tmp_path: Path) -> None:
    install_peer("cascade", toy_peers["cascade"])
    comparison = planned(tmp_path, ["mini", "cascade"], steps=1, refine="off", output="x.png")
    outcomes = drawn(comparison, lambda order: network(order.model, order.plan))
    assert [type(outcome) for outcome in outcomes] == [Drawn, Drawn]
    assert [path.name for path in comparison.paths] == ["x-mini.png", "x-cascade.png"]
    for outcome, path in zip(outcomes, comparison.paths, strict=True):
        assert isinstance(outcome, Drawn)
        with Image.open(path) as picture:
            assert picture.size == (256, 128)
        request = outcome.result.rendering.request
        assert (request.model, request.seed, request.num_inference_steps) == (outcome.model, 5, 1)
        assert outcome.peak.bytes > 50_000_000
        assert sum(outcome.parameters.values()) > 10_000
    assert list(outcomes[1].parameters) == ["text_encoder", "prior", "decoder", "vqgan"]  # type: ignore[union-attr]
    write_sheet(comparison, outcomes, lambda _: ("words",), force=False, metadata="full")
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.text == {"Description": "a red sun", "Software": sheet.text["Software"]}


@pytest.mark.parametrize("code", ["model-missing", "weights-invalid", "out-of-memory", "picture-invalid"])
def test_what_fails_for_one_model_stops_no_other(tmp_path: Path, code: str) -> None:
    failing = StandIn(fail_at=0)
    failing.failure = PixartError(code, "not this one")
    comparison = planned(tmp_path, ["mini", "sdxl", "dmd"])
    renderers = {"mini": StandIn(), "sdxl": failing, "dmd": StandIn()}
    outcomes = drawn(comparison, lambda order: renderers[order.model])
    assert [type(outcome) for outcome in outcomes] == [Drawn, Failed, Drawn]
    assert [path.exists() for path in comparison.paths] == [True, False, True]


def test_what_fails_for_all_ends_it(tmp_path: Path) -> None:
    failing = StandIn(fail_at=0)
    failing.failure = PixartError("disk", "full")
    with pytest.raises(PixartError, match="full"):
        drawn(planned(tmp_path, ["mini", "sdxl"]), lambda _: failing)


def test_networks_are_freed_before_the_next_model(tmp_path: Path) -> None:
    closed: list[str] = []

    class Closing(StandIn):
        def close(self) -> None:
            closed.append("closed")

    def renderer_of(order: Any) -> StandIn:
        assert len(closed) == len(asked)
        asked.append(order.model)
        return Closing()

    asked: list[str] = []
    drawn(planned(tmp_path, ["mini", "sdxl", "dmd"]), renderer_of)
    assert asked == ["mini", "sdxl", "dmd"]
    assert closed == ["closed"] * 3


def test_a_broken_folder_is_its_own_failure_and_a_misspelt_name_is_everybodys(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    comparison = planned(tmp_path, ["mini", str(tmp_path / "mine")])
    outcomes = drawn(comparison, lambda _: StandIn())
    assert [type(outcome) for outcome in outcomes] == [Drawn, Failed]
    with pytest.raises(PixartError, match="no model is named 'sdxxl'"):
        planned(tmp_path, ["mini", "sdxxl"])


def test_names(tmp_path: Path) -> None:
    assert planned(tmp_path, ["mini"]).sheet == tmp_path / "a-red-sun-5-compare.png"
    assert planned(tmp_path, ["mini"]).paths == (tmp_path / "a-red-sun-5-mini.png",)
    assert planned(tmp_path, ["mini"], output="out/").sheet == tmp_path / "out" / "a-red-sun-5-compare.png"
    assert planned(tmp_path, ["mini"], output="out/").paths == (tmp_path / "out" / "a-red-sun-5-mini.png",)
    for name in ("one", "two"):
        (tmp_path / name / "model").mkdir(parents=True)
    folders = [str(tmp_path / name / "model") for name in ("one", "two")]
    comparison = planned(tmp_path, ["mini", *folders], output="x.png")
    assert [path.name for path in comparison.paths] == ["x-mini.png", "x-model-2.png", "x-model-3.png"]
    for models, output in ((["mini", "mini"], None), ([], None), (["mini"], "-"), (["mini"], "x.jpg")):
        with pytest.raises(PixartError) as caught:
            planned(tmp_path, models, output=output)
        assert caught.value.exit_code == 2


def test_nothing_that_exists_is_drawn_over(tmp_path: Path) -> None:
    for name in ("x.png", "y-mini.png"):
        (tmp_path / name).write_bytes(b"mine")
    for output in ("x.png", "y.png"):
        with pytest.raises(PixartError, match="exists already"):
            planned(tmp_path, ["mini", "sdxl"], output=output)
        planned(tmp_path, ["mini", "sdxl"], output=output, force=True)


def test_a_model_named_compare_does_not_lie_under_the_sheet(tmp_path: Path) -> None:
    models = [str(tmp_path / name) for name in ("a/compare", "b/m", "c/m", "d/m-3")]
    for model in models:
        Path(model).mkdir(parents=True)
    comparison = planned(tmp_path, ["mini", *models])
    assert len({comparison.sheet, *comparison.paths}) == 6
    assert comparison.sheet.name == "a-red-sun-5-compare.png"


def test_what_files_ask_of_pixart_is_not_asked_of_others(tmp_path: Path) -> None:
    (tmp_path / "pixart.toml").write_text(
        'scheduler = "dpm++"\nkv_compression = "2"\nrefine = "direct"\nguidance_until = 0.5\n'
        'lora = "x.safetensors"\n'
        "encoder_bits = 8\n"
    )
    orders = planned(tmp_path, ["cascade", "sdxl"]).orders
    asked = [order.jobs[0].request for order in orders if isinstance(order, Order)]
    assert [(r.scheduler, r.kv_compression, r.refine, r.guidance_until, r.lora) for r in asked] == [
        ("wuerstchen", "off", "auto", 1.0, ""), ("euler", "off", "auto", 1.0, ""),
    ]  # fmt: skip
