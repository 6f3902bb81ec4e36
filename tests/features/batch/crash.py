"""Ends a batch at chosen system calls and looks at what is left. `make crash` tries all of them.

    python -m tests.features.batch.crash kill [--every N]      SIGKILL at every Nth system call
    python -m tests.features.batch.crash fail CALL ERROR       CALL fails with ERROR, at every time it is made

A process that has everything imported forks one victim a point; strace, attached to it, does the rest. After
each, every picture there must be whole, a second run must draw exactly what is missing, and nothing else may
stay. Prints one JSON object: {"points": how many were tried, "wrong": [what was not as promised]}. Several
command lines may stand in one, with "then" between them: a line of JSON each.
Needs strace. https://sqlite.org/testing.html is where the idea of trying every point is from.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pixart_cli.core.errors import PixartError
from pixart_cli.core.metadata import fingerprint_in
from pixart_cli.core.prompt_list import Job
from pixart_cli.features.batch import local, writers
from pixart_cli.features.batch.engine import Published
from pixart_cli.features.batch.occupancy import occupied
from pixart_cli.features.batch.resolve import Resolver
from pixart_cli.features.batch.run import Batch
from tests.processes import PATIENCE
from tests.stand_in import StandIn

TYPED = {"res": "32x32", "output": "out/{slug}.png"}
# The last two share a name, so that the way to the second place is tried as well.
PROMPTS = ("red sun", "white moon", "white moon!")


class Inline:
    """An executor without threads: the system calls of publishing are then one numbered sequence."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """As `ThreadPoolExecutor`."""

    def submit(self, work: Any, *args: Any) -> Future[Any]:
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:  # noqa: BLE001 -- the future's, as with threads
            future.set_exception(error)
        return future

    def shutdown(self) -> None:
        """Nothing to wait for."""


def draw(folder: Path) -> tuple[int, int]:
    """Run the batch in `folder`; gives (exit code, pictures drawn)."""
    resolver = Resolver(TYPED, cwd=folder)
    batch = Batch(resolver, typed=TYPED)
    engine = local.LocalEngine(
        lambda *_: StandIn(),
        resolver.plan_of,
        force=False,
        on_progress=lambda event: None,
        pause=batch.pause,
        begin=batch.begin,
    )
    jobs = [
        Job(prompt=prompt, options={"seed": 1}, line=n, source="list.txt") for n, prompt in enumerate(PROMPTS)
    ]
    drawn = 0
    try:
        with occupied(folder / "out", exclusive=False):
            for event in batch.run(jobs, engine):
                drawn += isinstance(event, Published) and not event.by_another
    except PixartError as error:
        return error.exit_code, drawn
    return (7 if batch.tally.failed else 0), drawn


def victim(folder: Path, inject: str) -> int:
    """Run the batch in a process of its own, under strace where `inject` says something; its wait status."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(draw(folder)[0])
    os.close(reader)
    tracer = _attach(pid, inject)
    os.write(writer, b"x")
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    tracer.wait(timeout=PATIENCE)
    return status


def _attach(pid: int, inject: str) -> subprocess.Popen[bytes]:
    argv = ["strace", "-f", "-qq", "-p", str(pid), "-o", os.devnull, "-e", inject]
    tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for _ in range(100 * PATIENCE):  # until the victim has a tracer
        if f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text():
            return tracer
        select.select([], [], [], 0.01)
        if tracer.poll() is not None:
            break
    os.kill(pid, signal.SIGKILL)
    raise SystemExit(f"strace did not attach: {tracer.stderr.read().decode() if tracer.stderr else ''}")


def left_wrong(folder: Path, wanted: set[str]) -> Iterator[str]:
    """What is not as promised in `folder`, first as the victim left it, then after a second run."""
    out = folder / "out"
    there = [fingerprint_in(path) for path in out.glob("*.png")]
    if None in there or len(set(there)) != len(there) or not set(there) <= wanted:
        yield f"a picture that is none, or twice: {sorted(path.name for path in out.iterdir())}"
    code, drawn = draw(folder)
    if (code, drawn) != (0, len(wanted) - len(there)):
        yield f"the second run drew {drawn} beside {len(there)} and ended with {code}"
    if {fingerprint_in(path) for path in out.glob("*.png")} != wanted:
        yield "not all pictures are there"
    if stray := [path.name for path in out.iterdir() if path.suffix not in (".png", ".jsonl")]:
        yield f"left behind: {stray}"
    lines = (out / "records.jsonl").read_text().splitlines() if (out / "records.jsonl").exists() else []
    if wanted and not all(_is_json(line) for line in lines if line.endswith("}")):
        yield "a line of the records is none"


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def points(inject: str, every: int, ended: Any, wanted: set[str], work: Path) -> dict[str, Any]:
    """Try point after point until the victim comes through, which is no point any more."""
    number, wrong = 0, list[str]()
    while True:
        number += every
        folder = Path(tempfile.mkdtemp(dir=work))
        status = victim(folder, inject.format(number=number))
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return {"points": number // every - 1, "wrong": wrong}
        if not ended(status):
            wrong.append(f"at {number}: ended with status {status}")
        wrong += [f"at {number}: {what}" for what in left_wrong(folder, wanted)]


def asked(words: Sequence[str]) -> argparse.Namespace:
    """What one command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("how", choices=["kill", "fail"])
    parser.add_argument("what", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    return parser.parse_args(words)


def tried(options: argparse.Namespace, wanted: set[str], work: Path) -> dict[str, Any]:
    """Try what one command line says."""
    if options.how == "kill":
        inject = "inject=all:signal=SIGKILL:when={number}"
        return points(inject, options.every, os.WIFSIGNALED, wanted, work)
    call, error = options.what
    inject = f"inject={call}:error={error}:when={{number}}"
    return points(inject, options.every, lambda s: os.WEXITSTATUS(s) == 9, wanted, work)


def main() -> None:
    """Try what the command line says, or several with "then" between them; prints a result a line."""
    runs = [asked(line.split()) for line in " ".join(sys.argv[1:]).split(" then ")]
    writers.ThreadPoolExecutor = Inline  # type: ignore[assignment,misc]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "first").mkdir()
        assert draw(work / "first") == (0, len(PROMPTS))
        wanted = {str(fingerprint_in(path)) for path in (work / "first" / "out").glob("*.png")}
        found = [tried(options, wanted, work) for options in runs]
    sys.stdout.writelines(json.dumps(each) + "\n" for each in found)
    sys.exit(any(each["wrong"] for each in found))


if __name__ == "__main__":
    main()
