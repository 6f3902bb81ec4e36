"""What four real processes find when they compute together; each writes it as JSON to RANK.json.

Run by the fixture `four_processes`, once for all tests that ask: the libraries take seconds to import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from pixart_cli.core.crew import Place, place
from pixart_cli.core.errors import PixartError
from pixart_cli.core.garbage import set_libraries_apart
from pixart_cli.core.lora import spell
from pixart_cli.core.request import GenerationRequest
from pixart_cli.diffusion import schedulers
from pixart_cli.diffusion.crew import Crew
from pixart_cli.diffusion.device import MemoryPlan
from pixart_cli.diffusion.first_block_cache import FirstBlockCache
from pixart_cli.diffusion.forward import ALL, NONE, Forward
from pixart_cli.diffusion.helper import assist
from pixart_cli.diffusion.init_image import read_init_image
from pixart_cli.diffusion.links import Links
from pixart_cli.diffusion.lora_file import find_lora
from pixart_cli.diffusion.parallel import shared_out
from pixart_cli.diffusion.renderer import NetworkRenderer
from pixart_cli.diffusion.sampling import Guidance, draw_noise, sample
from pixart_cli.diffusion.weights import locate
from tests.toy_lora import save_lora
from tests.toy_model import toy_transformer

NOTHING = {"resolution": None, "aspect_ratio": None}
CONFIG = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
PLAN = MemoryPlan(
    device="cpu", dtype="float32", offload="full", estimate_bytes=0, seconds_estimate=None, reasons=()
)
EMPTY, LONG = 1, 9
# Latents of 5 x 7, 9 x 4 and 2 x 7 tokens: rows that no number of processes divides, and fewer than four.
SIZES = ((10, 14), (18, 8), (4, 14))


def kv(sampling: str, ratio: int, **more: Any) -> dict[str, Any]:
    return {"sampling": sampling, "ratio": ratio, "layers": [1, 2], **more}


NETWORKS = {
    "plain": None,
    "conv": kv("conv", 2, qk_norm=True),
    "conv by 3": kv("conv", 3),
    "ave": kv("ave", 2),
    "uniform": kv("uniform", 2),
    "uniform_every": kv("uniform_every", 3),
    "pool": kv("pool", 2),
    "pool by 4": kv("pool", 4),
}


class Counting(Links):
    """Links that count what passes through them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gathers: list[tuple[bool, int]] = []

    def gather(self, mine: torch.Tensor, *, halves: bool = False) -> torch.Tensor:
        self.gathers.append((halves, mine.numel() * mine.element_size()))
        return super().gather(mine, halves=halves)


def transformer(name: str) -> Any:
    torch.manual_seed(5)
    network = toy_transformer(num_layers=3, kv_compression=NETWORKS[name])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(requires_grad=False)


def texts(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(length, 16, generator=generator) for length in lengths]


def latents(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(4))


def both(network: Any, links: Links, compute: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """What `compute` gives alone and shared out: how far apart, the range, and the digest."""
    alone = compute()
    with shared_out(network, links):
        together = compute()
    digest = hashlib.sha256(together.float().numpy().tobytes()).hexdigest()
    return {
        "apart": float((together - alone).abs().max()),
        "range": float(alone.abs().max()),
        "same": together.shape == alone.shape,
        "digest": digest,
    }


def forwards(links: Counting) -> Iterator[tuple[str, dict[str, Any]]]:
    timestep = torch.tensor([321])
    for name in NETWORKS:
        network = transformer(name)
        for size in SIZES:
            if name == "conv by 3" and size == (4, 14):
                continue  # two rows: too few for one process as well
            for lengths in ((EMPTY, LONG), (LONG,)):
                for savings in (ALL, NONE) if name == "plain" else (ALL,):
                    forward = Forward(network, texts(*lengths), NOTHING, savings)
                    links.gathers = []
                    found = both(network, links, lambda f=forward, s=size: f(latents(*s), timestep))
                    label = f"{name} {size} {lengths} {'all' if savings is ALL else 'none'}"
                    yield label, found | {"gathers": links.gathers}
    half = transformer("pool").to(torch.bfloat16)
    forward = Forward(half, [each.bfloat16() for each in texts(EMPTY, LONG)], NOTHING)
    yield "half precision", both(half, links, lambda: forward(latents(10, 14).bfloat16(), timestep))


def samples(links: Links) -> Iterator[tuple[str, dict[str, Any]]]:
    ways = {
        "plain": (1.0, 0.0), "guided for half": (0.5, 0.0), "cached": (1.0, 9.0), "both": (0.5, 9.0),
    }  # fmt: skip
    for network_name, rule, way in [
        ("plain", "dpm++", "plain"), ("plain", "euler-a", "plain"), ("pool", "dpm++", "guided for half"),
        ("plain", "dpm++", "cached"), ("pool", "dpm++-sde", "both"),
    ]:  # fmt: skip
        network = transformer(network_name)
        # Small outputs, as of a trained network: the toy's own would grow from step to step.
        network.proj_out.weight.mul_(0.1)

        def compute(network: Any = network, rule: str = rule, way: str = way) -> torch.Tensor:
            generator = torch.Generator().manual_seed(1)
            until, first_block = ways[way]
            return sample(
                network, schedulers.build(rule, CONFIG, 4),
                embeds=tuple(texts(EMPTY, LONG)), guidance=Guidance(scale=4.5, until=until),
                latents=draw_noise(generator, 4, 112, 80),
                generator=generator if schedulers.RULES[rule].stochastic else None,
                on_step=lambda *_: None, first_block=first_block,
            )  # fmt: skip

        yield f"{network_name} {rule} {way}", both(network, links, compute)


def skipped(links: Links) -> list[int]:
    """How many of four steps a cache skips, alone and together, when half of them change little."""
    network, counts = transformer("plain"), []
    for linked in (False, True):
        cache = FirstBlockCache(0.2)
        forward = Forward(network, texts(EMPTY, LONG), NOTHING, cache=cache)
        with shared_out(network, links) if linked else contextlib.nullcontext():
            for timestep, factor in ((900, 1.0), (900, 1.01), (200, 0.3), (200, 0.3)):
                forward(factor * latents(10, 14), torch.tensor([timestep]))
        counts.append(cache.skipped)
    return counts


def compared(rank: int, store: Any) -> dict[str, Any]:
    """Forwards and samples of two, three and four processes against those of one."""
    found: dict[str, Any] = {}
    for size in (2, 3, 4):
        if rank < size:
            links = Counting(rank, size)
            links.open(f"of {size}", store, "cpu")
            found[f"forwards {size}"] = dict(forwards(links))
            found[f"samples {size}"] = dict(samples(links))
            found[f"skipped {size}"] = skipped(links)
            found[f"gathered {size}"] = links.gather(torch.tensor([rank, -rank])).tolist()
            if size == 4:
                found["halves"] = links.gather(torch.tensor([rank]), halves=True).tolist()
            found[f"broadcast {size}"] = links.broadcast(torch.tensor([[10.0 + rank]])).tolist()
            links.close()
    return found


def drawn(here: Place, store: Any, folder: Path) -> dict[str, Any]:
    """Whole pictures by the leader's renderer and three helpers; one of these first runs out of memory."""
    crew = Crew(here, store)
    if not here.leads:
        hook = torch.nn.modules.module.register_module_forward_pre_hook(exhausted(here.rank == 1))
        code = assist(crew)
        hook.remove()
        return {"ended": code}
    base = GenerationRequest(
        prompt="a red sun", model=str(folder), width=128, height=512, num_inference_steps=3,
        guidance_scale=4.5, scheduler="dpm++", seed=7,
    )  # fmt: skip
    changes = (
        {"refine": "off"}, {"kv_compression": "2"}, {"guidance_scale": 1.0},
        {"scheduler": "euler-a", "seed": 8},
        {"refine": "0.5", "width": 240, "height": 960},
        {"refine": "2", "scheduler": "euler-a", "width": 300, "height": 1200},
    )  # fmt: skip
    requests = [dataclasses.replace(base, **change) for change in changes]
    renderer = NetworkRenderer(PLAN, locate(str(folder)), crew)
    alone, together = (
        pictures(each, requests) for each in (NetworkRenderer(PLAN, locate(str(folder))), renderer)
    )
    found = {
        "apart": [int(np.abs(one[0] - other[0]).max()) for one, other in zip(alone, together, strict=True)],
        "processes": [facts.get("processes") for _, facts in (*alone[:1], *together)],
        "passes": [len(facts["refine"]) for _, facts in together],
        "memory": renderer.plan.offload,
        "files": with_files(folder, base, crew),
        "overflown": overflown(folder, base, crew),
        "unlocated": unlocated(folder, base, crew),
    }
    crew.dismiss(6)
    return found


def pictures(renderer: NetworkRenderer, requests: list[GenerationRequest]) -> list[Any]:
    """(pixels, provenance) of each request."""
    found = renderer.render(requests, on_progress=lambda _: None)
    return [(np.asarray(each.pixels).astype(int), each.provenance) for each in found]


def with_files(folder: Path, base: GenerationRequest, crew: Crew) -> list[Any]:
    """How far pictures with an init image, and a LoRA too, are off; how far from each other; processes."""
    lora = find_lora(str(save_lora(folder.with_name("lora.safetensors"), toy_lora(folder))))
    picture = folder.with_name("init.png")
    Image.linear_gradient("L").resize((128, 512)).save(picture)
    parent, _ = read_init_image(picture)
    files = {lora.recorded.sha256: lora.path, parent.sha256: picture}
    plain = dataclasses.replace(base, init_image=parent.sha256, strength=0.7)
    both = dataclasses.replace(plain, lora=spell([lora.recorded]))
    alone, together = (
        pictures(NetworkRenderer(PLAN, locate(str(folder)), each, files=files), [plain, both])
        for each in (None, crew)
    )
    apart = [int(np.abs(one[0] - other[0]).max()) for one, other in zip(alone, together, strict=True)]
    return [*apart, int(np.abs(together[0][0] - together[1][0]).max()), together[1][1]["processes"]]


def toy_lora(folder: Path) -> dict[str, torch.Tensor]:
    """A LoRA for the toy in `folder`."""
    state = load_file(next((folder / "transformer").glob("*.safetensors")))
    generator = torch.Generator().manual_seed(0)
    out, into = state["proj_out.weight"].shape
    down, up = torch.randn(2, into, generator=generator), torch.randn(out, 2, generator=generator)
    return {"proj_out.lora_A.weight": down, "proj_out.lora_B.weight": up}


def exhausted(once: bool) -> Callable[..., None]:
    left = [MemoryError()] if once else []

    def before_forward(*_: Any) -> None:
        if left:
            raise left.pop()

    return before_forward


def overflown(folder: Path, base: GenerationRequest, crew: Crew) -> list[Any]:
    """A transformer that has to be run again in float32: its precision, and how far the picture is off."""
    broken = folder.with_name("overflowing")
    shutil.copytree(folder, broken)
    path = next((broken / "transformer").glob("*.safetensors"))
    state = load_file(path)
    state["caption_projection.linear_1.weight"].mul_(6e4)
    save_file(state, path)
    plan, request = dataclasses.replace(PLAN, dtype="float16"), dataclasses.replace(base, model=str(broken))
    alone, together = (
        pictures(NetworkRenderer(plan, locate(str(broken)), each), [request])[0] for each in (None, crew)
    )
    return [together[1]["transformer_dtype"], int(np.abs(alone[0] - together[0]).max())]


def unlocated(folder: Path, base: GenerationRequest, crew: Crew) -> list[str]:
    """What the leader reports when its helpers do not have the weights that it has."""
    passing = folder.with_name("passing")
    shutil.copytree(folder, passing)
    renderer = NetworkRenderer(PLAN, locate(str(passing)), crew)
    parts = renderer._parts()
    for name in ("text_encoder", "transformer", "vae"):
        getattr(parts, name)
    shutil.rmtree(passing)
    return failure(lambda: pictures(renderer, [dataclasses.replace(base, model=str(passing))]))


def failure(work: Callable[[], Any]) -> list[str]:
    try:
        work()
    except (PixartError, MemoryError) as error:
        return [getattr(error, "code", type(error).__name__), str(error)]
    except RuntimeError as bug:
        return ["itself", str(bug)]
    return ["none", ""]


def fail(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


TROUBLE: list[tuple[int, Callable[[], None]]] = [
    (1, fail(PixartError("weights-invalid", "torn", "Mend it."))),
    (0, fail(RuntimeError("shape"))),
    (2, fail(MemoryError())),
    (0, lambda: None),
]


def troubled(here: Place, store: Any, found: dict[str, Any]) -> None:
    """One after another fails in the middle of an order; then all goes well; then one is gone.

    What was `found`, here too, is said by each at its end.
    """
    crew = Crew(here, store)

    def attempt(who: int, act: Callable[[], None]) -> None:
        crew.send({}) if here.leads else crew.receive()
        with crew.attempt():
            links = crew.meet("cpu")
            links.gather(torch.tensor([here.rank]))
            if here.rank == who:
                act()
            links.gather(torch.tensor([here.rank]))

    found["told"] = [failure(lambda who=who, act=act: attempt(who, act)) for who, act in TROUBLE]
    before = time.monotonic()

    def vanish() -> None:
        said(found)
        os._exit(9)

    found["lost"] = failure(lambda: attempt(3, vanish))
    said(found | {"seconds": time.monotonic() - before})


def said(found: dict[str, Any]) -> None:
    Path(os.environ["OUT"], f"{os.environ['RANK']}.json").write_text(json.dumps(found))


def work(rank: int) -> None:
    """What process `rank` does and finds."""
    os.environ["RANK"] = str(rank)
    torch.set_num_threads(1)
    here = place(os.environ)
    store = next(iter(rendezvous("env://", timeout=timedelta(seconds=300))))[0]
    with torch.inference_mode():
        found = compared(here.rank, store)
    found |= drawn(here, PrefixStore("drawing", store), Path(sys.argv[1]))
    troubled(here, PrefixStore("trouble", store), found)


def main() -> None:
    """Be the first process and start the others: as copies of this one where that is safe.

    Prints their exit codes. macOS's own libraries do not survive a fork.
    """
    set_libraries_apart()
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    others = [context.Process(target=work, args=(rank,), daemon=True) for rank in (1, 2, 3)]
    for process in others:
        process.start()
    work(0)
    for process in others:
        process.join()
    sys.stdout.write(json.dumps([process.exitcode for process in others]) + "\n")


if __name__ == "__main__":
    main()
