"""The recipe, whole, at toy size: every stage, stopped in the middle, gives a model that draws."""

import dataclasses
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pixart_cli.diffusion.weights import locate
from pixart_cli.features.evaluate.captions import Captions
from pixart_cli.features.evaluate.run import answers, plan_evaluation
from pixart_cli.features.generate import network
from pixart_cli.features.train.mini import train_mini
from tests.features.train.conftest import TOY

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.mark.exemplars
@pytest.mark.usefixtures("toy_sizes")
def test_a_stopped_training_goes_on_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        if text == "full: 6 pictures encoded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mini(tmp_path / "out", tmp_path / "run", TOY, stop)
    assert not (tmp_path / "out").exists()
    del said[:]
    train_mini(tmp_path / "out", tmp_path / "run", TOY, said.append)
    assert said[-1] == f"saved {tmp_path / 'out'}"
    assert [text for text in said if "drawn" in text] == ["full: 6 pictures drawn"]  # small is finished
    plan = plan_evaluation(Captions(), str(tmp_path / "out"), count=2, seed=1, device="cpu")
    renderer = network(plan.model, plan.memory)
    given = list(answers(plan, lambda: renderer, None, on_progress=lambda _event: None))
    assert [answer.picture.size for answer in given] == [question.size for question in plan.questions]


@pytest.mark.usefixtures("toy_sizes")
def test_training_goes_on_from_a_saved_model(tmp_path: Path) -> None:
    said: list[str] = []
    train_mini(tmp_path / "first", tmp_path / "run", TOY, said.append)
    further = dataclasses.replace(TOY, start=str(tmp_path / "first"))
    train_mini(tmp_path / "second", tmp_path / "further", further, said.append)
    names = {path.name for path in (tmp_path / "further").glob("*.pt")}
    assert names == {"full.pt", "decoder.pt"}
    first, second = (load_file(tmp_path / name / TRANSFORMER) for name in ("first", "second"))
    moved = max(float((second[key].float() - first[key].float()).abs().max()) for key in first)
    assert 0.0 < moved < 0.01  # three steps at a warming rate


@pytest.mark.usefixtures("toy_sizes")
def test_an_autoencoder_can_be_taken_from_another_model(tmp_path: Path) -> None:
    taught = dataclasses.replace(TOY, autoencoder_from="mini")
    train_mini(tmp_path / "out", tmp_path / "run", taught, print)
    assert not (tmp_path / "run" / "autoencoder.pt").exists()
    built_in = load_file(locate("mini").parts["vae"] / "diffusion_pytorch_model.safetensors")
    taken = load_file(tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(taken[key].equal(built_in[key]) for key in taken if key.startswith("encoder."))
