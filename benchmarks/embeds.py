"""The second `pixart gen` of a prompt against the first: whole processes, in turns.

    python benchmarks/embeds.py [--layers 12] [--width 768] [--rounds 3] [--res 256x256] [--steps 4]

The model is the built-in one with a T5 encoder of the real class and random float32 weights in place of its
own, about 400 MB unless told otherwise, and a transformer to fit it. "off" keeps no embeddings, "first"
keeps them in an empty cache, "second" finds them there. "drawing" is what the command itself reports, from
the first network to the finished picture; "process" is all of it, the start of Python and the libraries
included. Memory is the peak of the resident set; "above start" is what is left of it without the libraries.
Every picture must be the same file, or the script fails. Ratios are of medians.

`--streamed` compares an encoder loaded whole in bfloat16 with one whose blocks pass by, mapped from the file:
what is held in memory besides mapped files, processor time, and whether the embeddings have the same bits.
`--tiny` asks from which size on the cache pays: encoders of growing size are loaded and run, and the
time is held against that of finding an entry.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixart_cli.core.paths import built_in_model_dir

PROMPT = "a red sun over blue mountains, three pine trees in front, a calm sea, flat poster"
WAYS = ("off", "first", "second")
IMPORT = "import pixart_cli.cli.app, pixart_cli.diffusion.renderer"


def build(folder: Path, layers: int, width: int) -> int:
    """The model in `folder`; gives the bytes of its text encoder."""
    import torch
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    from pixart_cli.diffusion.transformer import PixArtSigmaTransformer2DModel

    own = built_in_model_dir()
    for part in ("tokenizer", "vae", "scheduler"):
        shutil.copytree(own / part, folder / part, dirs_exist_ok=True)
    shutil.copy(own / "model_index.json", folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32128, d_model=width, d_kv=64, d_ff=width * 5 // 2, num_layers=layers,
        num_heads=max(1, width // 64), feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )  # fmt: skip
    T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    shape = json.loads((own / "transformer" / "config.json").read_text())
    shape |= {"caption_channels": width}
    PixArtSigmaTransformer2DModel.from_config(shape).save_pretrained(folder / "transformer")
    return sum(path.stat().st_size for path in (folder / "text_encoder").glob("*.safetensors"))


def built_elsewhere(folder: Path, options: argparse.Namespace) -> int:
    """As `build`, in another process: a child's peak is never less than what its parent held at the fork."""
    command = [sys.executable, __file__, "--build", str(folder)]
    return int(run([*command, f"--layers={options.layers}", f"--width={options.width}"], {})["out"])


def run(command: list[str], environ: dict[str, str]) -> dict[str, Any]:
    """Wall and processor seconds and peak bytes of one process, and its output.

    Raises:
        SystemExit: with its standard error when it fails.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(err.read().decode())
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": peak, "out": out.read()}


def gen(folder: Path, scratch: Path, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """One picture, `way`; what it took."""
    target = scratch / f"{way}.png"
    command = [
        sys.executable, "-m", "pixart_cli", "gen", PROMPT, "--model", str(folder), "--res", options.res,
        "--draft", "--steps", str(options.steps), "--seed", "7", "--device", "cpu", "--memory", "full",
        "--force", "--json", "-o", str(target), *(["--prompt-cache", "0"] if way == "off" else []),
    ]  # fmt: skip
    cache = scratch / ("none" if way == "off" else "cache")
    found = run(command, {"PIXART_CACHE_DIR": str(cache)})
    found["drawing"] = json.loads(found.pop("out"))["images"][0]["seconds"]
    found["picture"] = target.read_bytes()
    return found


def measure(folder: Path, scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians by way and quantity.

    Raises:
        SystemExit: when two pictures differ.
    """
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    gen(folder, scratch, "off", options)  # the files are in the page cache from here on
    for _ in range(options.rounds):
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        for way in WAYS:
            runs[way].append(gen(folder, scratch, way, options))
    if len({found["picture"] for each in runs.values() for found in each}) != 1:
        raise SystemExit("the pictures differ")
    return {
        way: {
            key: statistics.median(found[key] for found in each) for key in ("wall", "cpu", "peak", "drawing")
        }
        for way, each in runs.items()
    }


def whole(options: argparse.Namespace) -> None:
    """The table of whole commands."""
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        encoder = built_elsewhere(scratch / "model", options)
        bare = run([sys.executable, "-c", IMPORT], {})
        found = measure(scratch / "model", scratch, options)
        kept = sum(path.stat().st_size for path in (scratch / "cache" / "embeds").iterdir())
    print(f"text encoder of {encoder / 1e6:.0f} MB; {kept / 1e3:.0f} kB kept; all pictures are the same file")
    for way in WAYS:
        each = found[way] | {"above": found[way]["peak"] - bare["peak"]}
        print(
            f"{way}: drawing {each['drawing']:.1f} s, process {each['wall']:.1f} s ({each['cpu']:.1f} s CPU),"
            f" peak {each['peak'] / 1e6:.0f} MB, {each['above'] / 1e6:.0f} above start"
        )
    for way in ("off", "first"):
        second, other = found["second"], found[way]
        ratios = {key: second[key] / other[key] for key in ("drawing", "wall", "cpu", "peak")}
        above = (second["peak"] - bare["peak"]) / (other["peak"] - bare["peak"])
        print(
            f"second / {way}: drawing {ratios['drawing']:.2f}, process {ratios['wall']:.2f}"
            f" ({ratios['cpu']:.2f} CPU), peak {ratios['peak']:.2f}, above start {above:.2f}"
        )


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of `work`."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1000 * min(times)


def streamed(options: argparse.Namespace) -> None:
    """One encoder held whole and streamed, each in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        encoder = built_elsewhere(Path(place) / "model", options)
        print(f"text encoder of {encoder / 1e6:.0f} MB in float32, working in bfloat16")
        found = {}
        for way in ("whole", "streamed"):
            command = [sys.executable, __file__, "--child", way, f"{place}/model"]
            found[way] = json.loads(run(command, {})["out"])
            print(f"{way}: {found[way]['held'] / 1e6:.0f} MB held, {found[way]['cpu']:.1f} s CPU")
        same = found["whole"]["bits"] == found["streamed"]["bits"]
        print("the same bits" if same else "OTHER BITS")


def child(way: str, model: str) -> None:
    """Encode one prompt and print what that took."""
    import hashlib

    import torch

    from pixart_cli.diffusion.device import MemoryPlan
    from pixart_cli.diffusion.memory import encoding
    from pixart_cli.diffusion.pipeline import load
    from pixart_cli.diffusion.text import encode
    from pixart_cli.diffusion.weights import locate

    plan = MemoryPlan(
        device="cpu", dtype="bfloat16", offload="full", encoder=way, estimate_bytes=0, seconds_estimate=None,
        reasons=(),
    )  # fmt: skip
    parts = load(locate(model), plan)
    before, started, most = anonymous(), time.process_time(), 0

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, anonymous() - before)

    encoder: Any = parts.text_encoder
    for block in encoder.encoder.block:
        block.register_forward_hook(look)
    with torch.inference_mode(), encoding(encoder, plan, lambda _key: torch.bfloat16):
        embeds = encode(parts.tokenizer, encoder, PROMPT, max_tokens=300)
    bits = hashlib.sha256(embeds.view(torch.uint8).numpy().tobytes()).hexdigest()
    print(json.dumps({"held": most, "cpu": time.process_time() - started, "bits": bits}))


def anonymous() -> int:
    """Bytes of this process's memory that are no pages of a file; Linux alone tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def tiny(options: argparse.Namespace) -> None:
    """From which size of an encoder on an entry is found sooner than computed."""
    import torch

    from pixart_cli.diffusion.device import MemoryPlan
    from pixart_cli.diffusion.embeds import EmbedsCache, kept
    from pixart_cli.diffusion.pipeline import load, load_network
    from pixart_cli.diffusion.text import encode
    from pixart_cli.diffusion.weights import locate

    plan = MemoryPlan(
        device="cpu", dtype="float32", offload="full", estimate_bytes=0, seconds_estimate=None, reasons=()
    )
    for layers, width in ((1, 16), (2, 64), (4, 128), (4, 256), (6, 512)):
        with tempfile.TemporaryDirectory() as place, torch.inference_mode():
            os.environ["PIXART_CACHE_DIR"] = place
            size = build(Path(place) / "model", layers, width)
            installed = locate(f"{place}/model")
            tokenizer, part = load(installed, plan).tokenizer, installed.parts["text_encoder"]

            def compute(tokenizer: Any = tokenizer, part: Path = part, spec: Any = installed.spec) -> Any:
                encoder: Any = load_network("text_encoder", part, spec=spec, dtype=torch.float32)
                return encode(tokenizer, encoder, PROMPT, max_tokens=300)

            def find(installed: Any = installed) -> object:
                return EmbedsCache(installed, kept(10**9)).recall(PROMPT, torch.float32, plan)

            compute()
            EmbedsCache(installed, kept(10**9)).keep(PROMPT, compute(), plan)
            computing, finding = milliseconds(compute, options.rounds), milliseconds(find, options.rounds)
        print(f"encoder of {size / 1e6:.1f} MB: computed in {computing:.0f} ms, found in {finding:.1f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--res", default="256x256")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--streamed", action="store_true")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        print(build(Path(options.build), options.layers, options.width))
    elif options.child:
        child(*options.child)
    elif options.streamed:
        streamed(options)
    elif options.tiny:
        tiny(options)
    else:
        whole(options)


if __name__ == "__main__":
    main()
