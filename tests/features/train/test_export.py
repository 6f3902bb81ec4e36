"""Export: what is saved is what the door loads."""

from pathlib import Path

import pytest
import torch

from pixart_cli.core.catalog import catalog, spec_of_folder
from pixart_cli.core.settings import lay_over
from pixart_cli.diffusion.weights import locate
from pixart_cli.features import generate
from pixart_cli.features.train import denoiser, language
from pixart_cli.features.train.autoencoder import build_autoencoder
from pixart_cli.features.train.export import save_model


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(denoiser, "LAYERS", 1)
    torch.manual_seed(0)
    tokenizer = language.build_tokenizer()
    transformer = denoiser.build_transformer(language.WIDTH, torch.device("cpu"))
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.02)
    encoder = language.build_text_encoder(len(tokenizer))
    save_model(tmp_path / "model", tokenizer, encoder, build_autoencoder(), 0.25, transformer)
    return tmp_path / "model"


def test_only_safetensors_and_json(saved: Path) -> None:
    suffixes = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json"}


def test_gen_draws_with_it(saved: Path, tmp_path: Path) -> None:
    typed = {"model": str(saved), "res": "64x64", "steps": 2, "seed": 1, "output": str(tmp_path / "a.png")}
    order = generate.plan_jobs(lay_over(typed, environ={}, cwd=tmp_path), ["a red sun"], cwd=tmp_path)
    renderer = generate.network(order.model, order.plan)
    results = list(
        generate.generate(order, renderer, force=False, metadata="full", on_progress=lambda event: None)
    )
    assert results[0].rendering.pixels.size == (64, 64)
    assert (tmp_path / "a.png").is_file()


def test_it_is_drawn_with_as_the_built_in_model_is(saved: Path) -> None:
    made, built_in = spec_of_folder(saved), catalog()["mini"]
    assert made.default_scheduler == built_in.default_scheduler
    assert (made.default_steps, made.default_guidance) == (built_in.default_steps, built_in.default_guidance)
    assert made.default_guidance_until == built_in.default_guidance_until
    assert made.refine == built_in.refine


def test_half_precision_and_the_scale_are_kept(saved: Path) -> None:
    from safetensors import safe_open

    parts = locate(str(saved)).parts
    with safe_open(parts["vae"] / "diffusion_pytorch_model.safetensors", framework="pt") as file:
        dtypes = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert dtypes == {torch.float16}
    assert '"scaling_factor": 0.25' in (saved / "vae" / "config.json").read_text()
