"""The loop: parity with the formulas, going on to the bit, and what must stop it."""

import math
from pathlib import Path

import pytest
import torch

from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.training.batches import Team
from pixart_cli.diffusion.training.loss import Objective
from pixart_cli.diffusion.training.snapshot import load_snapshot, snapshots_in
from pixart_cli.diffusion.training.trainer import Trainer
from tests.diffusion.training.conftest import batch_of, parts_of
from tests.diffusion.training.reference import adamw, reference_loss


def never() -> bool:
    return False


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.weights.items()}


def test_loss_and_one_step_are_those_of_the_formulas(network, run_in, accelerator) -> None:
    """The loss by hand from the network's output; the step by hand from the gradient of that loss."""
    batch = batch_of(2)
    run = run_in(pace={"steps": 1, "weight_decay": 0.1}, clip=0.0)
    objective = run.objective
    noisy = objective.noisy(batch.latents, batch.noise, batch.timesteps)
    output = network(
        noisy, encoder_hidden_states=batch.embeds, encoder_attention_mask=batch.mask,
        timestep=batch.timesteps, added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]  # fmt: skip
    by_hand = [
        reference_loss(
            output[i].flatten().tolist(), batch.latents[i].flatten().tolist(),
            batch.noise[i].flatten().tolist(), int(batch.timesteps[i]), learn_sigma=True,
        )
        for i in range(2)
    ]  # fmt: skip
    # The derivative of the formulas by each output, as a small difference: no code of ours is used.
    names = [name for name, value in network.named_parameters() if value.requires_grad]
    slope = torch.zeros_like(output)
    for place in [(0, 0, 3, 3), (1, 2, 0, 7), (1, 6, 4, 4)]:
        slope[place] = difference(output, batch, place)
    losses = objective.losses(output, batch.latents, batch.noise, batch.timesteps)
    (ours,) = torch.autograd.grad(losses.mean(), output, retain_graph=True)
    for place in slope.nonzero().tolist():
        assert ours[tuple(place)].item() == pytest.approx(slope[tuple(place)].item(), rel=5e-3, abs=1e-5)
    gradients = torch.autograd.grad(losses.mean(), [network.get_parameter(name) for name in names])
    before = {name: network.get_parameter(name).detach().clone() for name in names}
    trainer = Trainer(network, run, accelerator)
    (figures,) = trainer.train(lambda step, part: batch, never)
    assert figures.loss == pytest.approx(sum(by_hand) / 2, rel=1e-4)
    after = weights_of(trainer)
    for name, gradient in zip(names, gradients, strict=True):
        index = int(gradient.abs().argmax())
        expected = adamw(
            before[name].flatten()[index].item(), gradient.flatten()[index].item(), rate=1e-3, decay=0.1,
            beta1=0.9, beta2=0.999,
        )  # fmt: skip
        assert after[name].flatten()[index].item() == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def difference(output: torch.Tensor, batch, place: tuple[int, ...], step: float = 1e-3) -> float:
    """The derivative of the mean loss by one number of the output, from the formulas alone."""
    sample, found = place[0], []
    for sign in (1, -1):
        moved = output[sample].detach().double().clone()
        moved[place[1:]] += sign * step
        told = [moved, output[sample].double()]
        # The mean is detached in the bound: its squares see the moved number, its bits do not.
        by_mean = place[1] < 4
        first, second = (each.flatten().tolist() for each in (told if by_mean else told[:1] * 2))
        x, e = (each[sample].flatten().tolist() for each in (batch.latents, batch.noise))
        t = int(batch.timesteps[sample])
        plain = reference_loss(first, x, e, t)
        bits = reference_loss(second, x, e, t, learn_sigma=True) - reference_loss(second, x, e, t)
        found.append(plain + bits)
    return (found[0] - found[1]) / (2 * step) / len(output)


@pytest.mark.parametrize("optimizer", ["adamw", "came"])
def test_a_run_that_was_stopped_equals_one_that_never_was(
    weak, run_in, accelerator, tmp_path, optimizer
) -> None:
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    values = {"pace": {"optimizer": optimizer, "schedule": "cosine"}, "ema": 0.9}
    unbroken = Trainer(adapted(weak, Adaptation()), run_in(**values, folder=tmp_path / "a"), accelerator)
    whole = list(unbroken.train(parts_of, never))
    run = run_in(**values, folder=tmp_path / "b")
    stops = iter([False, True])
    first = list(Trainer(adapted(weak, Adaptation()), run, accelerator).train(parts_of, lambda: next(stops)))
    second = Trainer(adapted(weak, Adaptation()), run, accelerator)
    assert second.step == len(first) == 2
    rest = list(second.train(parts_of, never))
    assert [each.loss for each in (*first, *rest)] == [each.loss for each in whole]
    for name, value in unbroken.weights.items():
        assert torch.equal(value, second.weights[name]), name
        assert torch.equal(unbroken.average.tensors[name], second.average.tensors[name]), name
    ends = [load_snapshot(snapshots_in(tmp_path / each)[-1]) for each in "ab"]
    assert ends[0].optimizer["param_groups"] == ends[1].optimizer["param_groups"]
    for key, row in ends[0].optimizer["state"].items():
        for name, value in row.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(ends[1].optimizer["state"][key][name]))


def test_accumulated_parts_are_one_batch(weak, run_in, accelerator, tmp_path) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    whole = batch_of(4)
    run = run_in(pace={"steps": 1}, team=Team(batch_size=4), folder=tmp_path / "a")
    one = Trainer(adapted(weak, Adaptation()), run, accelerator)
    (figures,) = one.train(lambda step, part: whole, never)
    AcceleratorState._reset_state(reset_partial_state=True)
    run = run_in(pace={"steps": 1}, team=Team(batch_size=2, accumulate=2), folder=tmp_path / "b")
    two = Trainer(adapted(weak, Adaptation()), run, Accelerator(cpu=True, gradient_accumulation_steps=2))

    def halves(step: int, part: int):
        return type(whole)(**{k: v[2 * part : 2 * part + 2] for k, v in vars(whole).items()})

    (parts,) = two.train(halves, never)
    assert parts.loss == pytest.approx(figures.loss, rel=1e-5)
    assert parts.gradient_norm == pytest.approx(figures.gradient_norm, rel=1e-4)


def test_checkpointing_changes_memory_and_nothing_else(weak, run_in, accelerator, tmp_path) -> None:
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    found = []
    for checkpointing in (False, True):
        network = adapted(weak, Adaptation())
        if checkpointing:
            network.enable_gradient_checkpointing()
        run = run_in(pace={"steps": 1}, folder=tmp_path / str(checkpointing))
        found += [(each.loss, each.gradient_norm) for each in Trainer(network, run, accelerator).train(
            parts_of, never)]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_loss_that_is_no_number_stops_at_the_last_good_checkpoint(network, run_in, accelerator) -> None:
    def parts(step: int, part: int):
        batch = parts_of(step, part)
        if step == 2:
            batch.latents[0, 0, 0, 0] = math.nan
        return batch

    trainer = Trainer(network, run_in(save_every=1), accelerator)
    with pytest.raises(PixartError, match="no number at step 3") as caught:
        list(trainer.train(parts, never))
    assert (caught.value.code, caught.value.exit_code) == ("loss-invalid", 6)
    assert "step-00000002" in caught.value.message
    saved = load_snapshot(snapshots_in(trainer.run.folder)[-1])
    assert saved.step == 2
    assert all(value.isfinite().all() for value in saved.weights.values())


def test_the_gradient_is_clipped_before_the_step(network, run_in, accelerator) -> None:
    trainer = Trainer(network, run_in(pace={"steps": 1, "learning_rate": 0.0}, clip=1e-6), accelerator)
    (figures,) = trainer.train(parts_of, never)
    assert figures.gradient_norm > 1e-3  # told as it was
    moment = next(iter(trainer._optimizer.state_dict()["state"].values()))["exp_avg"]
    assert moment.norm() <= 1e-7


def test_it_learns(network, run_in, accelerator) -> None:
    fixed = batch_of(2, seed=5)
    run = run_in(pace={"steps": 30, "learning_rate": 3e-3},
                 objective=Objective(prediction_type="epsilon"))  # fmt: skip
    losses = [each.loss for each in Trainer(network, run, accelerator).train(lambda s, p: fixed, never)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_checkpoint_of_another_network_is_refused(network, run_in, accelerator, weak) -> None:
    from pixart_cli.diffusion.training.adapt import Adaptation, adapted

    list(Trainer(network, run_in(pace={"steps": 1}), accelerator).train(parts_of, never))
    other = adapted(weak, Adaptation(kv_compression={"sampling": "conv", "ratio": 2}))
    with pytest.raises(PixartError, match="another network") as caught:
        Trainer(other, run_in(), accelerator)
    assert caught.value.exit_code == 4


def test_alpha_is_told_size_and_ratio(weak) -> None:
    from pixart_cli.diffusion.training.trainer import loss_of
    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel
    from tests.toy_model import toy_transformer

    config = toy_transformer(use_additional_conditions=True).config
    told = []

    class Alpha(PixArtSigmaTransformer2DModel):
        def forward(self, *args, **kwargs):
            told.append(kwargs["added_cond_kwargs"])
            return super().forward(*args, **kwargs)

    network = Alpha.from_config(config)
    loss = loss_of(network, network, Objective(prediction_type="epsilon"), batch_of(2, side=8))
    assert loss.isfinite()
    assert told[0]["resolution"].tolist() == [[64, 64]] * 2
    assert told[0]["aspect_ratio"].tolist() == [[1.0]] * 2


def test_nothing_is_written_that_was_saved_already(network, run_in, accelerator) -> None:
    trainer = Trainer(network, run_in(pace={"steps": 1}), accelerator)
    list(trainer.train(parts_of, never))
    (path,) = snapshots_in(trainer.run.folder)
    before = Path(path / "state.json").stat().st_mtime_ns
    trainer.save()
    assert Path(path / "state.json").stat().st_mtime_ns == before
