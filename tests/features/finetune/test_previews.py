"""Sample pictures of a run."""

from types import SimpleNamespace

import torch
from PIL import Image

from pixart_cli.diffusion.pipeline import load_network
from pixart_cli.diffusion.training.adapt import Adaptation, adapted
from pixart_cli.diffusion.training.average import Average
from pixart_cli.features.finetune.plan import plan_training
from pixart_cli.features.finetune.prepare import Cache
from pixart_cli.features.finetune.previews import Previews


class Alone:
    """The part of accelerate that is asked here."""

    def __init__(self, *, leads: bool = True) -> None:
        self.is_main_process, self.device, self.waited = leads, torch.device("cpu"), 0

    def wait_for_everyone(self) -> None:
        self.waited += 1


def test_the_average_is_drawn_a_picture_a_prompt(configure, tmp_path) -> None:
    plan = plan_training(configure(sample_every=1, sample_prompts=["a red sun", "a blue sea"]))
    source = load_network(
        "transformer", plan.installed.parts["transformer"], spec=plan.spec, dtype=torch.float32
    )
    network, cache, events = adapted(source, Adaptation()), Cache(plan), []
    cache.read_captions(["", *plan.config.sample_prompts], lambda event: None)
    average = Average(dict(network.named_parameters()), 0.9)
    accelerator = Alone()
    trainer = SimpleNamespace(step=3, transformer=network, average=average)
    Previews(plan, accelerator, cache, events.append).draw(trainer)
    folder = tmp_path / "run" / "samples"
    names = [path.name for path in sorted(folder.iterdir())]
    assert names == ["step-00000003-0.png", "step-00000003-1.png"]
    assert [(each.done, each.total, each.text) for each in events] == [
        (1, 2, "a red sun"),
        (2, 2, "a blue sea"),
    ]
    first = [Image.open(folder / name).tobytes() for name in names]
    average.tensors["proj_out.bias"] += 1.0
    Previews(plan, accelerator, cache, events.append).draw(trainer)
    assert Image.open(folder / names[0]).tobytes() != first[0]
    assert accelerator.waited == 2


def test_another_process_only_waits(configure, tmp_path) -> None:
    plan = plan_training(configure(sample_every=1, sample_prompts=["a red sun"]))
    accelerator = Alone(leads=False)
    Previews(plan, accelerator, Cache(plan), lambda event: None).draw(SimpleNamespace())
    assert accelerator.waited == 1
    assert not (tmp_path / "run" / "samples").exists()
