"""`pixart batch` as a person or a script meets it: streams, exit codes, signals, company."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pixart_cli.cli.app import run
from pixart_cli.cli.batch_source import parse_shard
from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.occupancy import occupied
from tests.processes import PATIENCE

SMALL = ("-r", "64x48")
ROOT = Path(__file__).resolve().parents[2]
# Draws with a stand-in: slowly at "slow", a failure at "poison".
CHILD = """
import sys, time
from pixart_cli.cli.app import run
from pixart_cli.core.rendering import ProgressEvent
from tests.stand_in import StandIn
class Slow(StandIn):
    def render(self, requests, *, on_progress):
        for index, request in enumerate(requests):
            if "slow" in request.prompt:
                print("ready", file=sys.stderr, flush=True)
                for step in range(600):
                    time.sleep(0.05)
                    on_progress(ProgressEvent(stage="denoise", step=step, total=600, index=index))
            if "stuck" in request.prompt:
                print("ready", file=sys.stderr, flush=True)
                while True:
                    try: time.sleep(60)
                    except BaseException: pass
            yield from super().render([request], on_progress=lambda event: None)
sys.exit(run(sys.argv[1:], renderers=lambda model, plan: Slow()))
"""


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# three\nred sun\n  --seed 7\nwhite moon\n  -s 8 -r 32x32\n\ngreen {hill|sea}\n  -s 9\n")
    return path


def start(folder, *args, **options) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", CHILD, "batch", *args], cwd=folder, env=environ, **streams)


def wait_until(words: bytes, process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    assert any(line.startswith(words) for line in process.stderr), "it ended before"


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_list_becomes_pictures_and_a_second_run_none(pixart, prompts, tmp_path):
    ran = pixart("batch", "list.txt", "-o", "out/", *SMALL)
    names = ["out/red-sun-7.png", "out/white-moon-8.png", "out/green-hill-9.png", "out/green-sea-9.png"]
    assert (ran.code, sorted(ran.out.splitlines())) == (0, sorted(names))
    assert "4 pictures drawn, 0 there already" in ran.err
    again = pixart("batch", "list.txt", "-o", "out/", *SMALL)
    assert (again.code, again.out) == (0, "")
    assert "0 pictures drawn, 4 there already" in again.err


def test_a_prompts_own_options_win(pixart, prompts, stand_in):
    pixart("batch", "list.txt", *SMALL, "--seed", "1", "--steps", "3")
    found = {(r.prompt, r.seed, r.width, r.num_inference_steps) for r in stand_in.drawn}
    assert ("white moon", 8, 32, 3) in found
    assert ("red sun", 7, 64, 3) in found


def test_a_prompt_without_a_seed_has_the_same_one_always_and_count_goes_on_from_it(
    pixart, tmp_path, stand_in
):
    (tmp_path / "a.txt").write_text("red sun\nmoon\n")
    (tmp_path / "b.txt").write_text("moon\n\nred sun\n  -n 2\n")
    pixart("batch", "a.txt", *SMALL, "-o", "a/")
    pixart("batch", "b.txt", *SMALL, "-o", "b/")
    seeds = [(r.prompt, r.seed) for r in stand_in.drawn]
    assert set(seeds[:2]) < set(seeds[2:])
    assert len({seed for prompt, seed in seeds if prompt == "red sun"}) == 2


def test_standard_input_is_a_list_too(tmp_path):
    process = start(tmp_path, "-", *SMALL, "-q", stdin=subprocess.PIPE)
    out, err = process.communicate(b"red sun\n  -s 7\n", timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, b"red-sun-7.png\n", b"")


def test_a_stream_is_one_from_the_first_mistake_on(pixart, tmp_path):
    (found,) = events(pixart("batch", "no-such-list.txt", "--json-stream").out)
    assert (found["event"], found["schema"], found["error"]["exit"]) == ("done", "pixart.batch/1", 2)


def test_sample_takes_some_combinations(pixart, tmp_path):
    (tmp_path / "list.txt").write_text("{a|b|c|d} {e|f|g|h} sun\nmoon\n")
    assert pixart("batch", "list.txt", "--check", "--sample", 3).out.splitlines()[-1] == "4 pictures"


def test_events_are_lines_of_json(pixart, prompts):
    prompts.write_text(prompts.read_text() + "zeppelin\n  --init-image none.png\n")
    ran = pixart("batch", "list.txt", "--json-stream", *SMALL)
    found = events(ran.out)
    kinds = [event["event"] for event in found]
    assert (kinds[0], kinds[-1], ran.code) == ("start", "done", 7)
    assert (kinds.count("image"), kinds.count("failed")) == (4, 1)
    assert found[0]["total"] == 5
    image = next(event for event in found if event["event"] == "image")
    assert {"path", "seed", "request", "provenance", "fingerprint", "line"} <= image.keys()
    failed = next(event for event in found if event["event"] == "failed")
    assert (failed["line"], failed["error"]["code"]) == (9, "init-image-missing")
    last = [event for event in found if event["event"] == "progress"][-1]
    assert (last["done"], last["drawn"], last["failed"]) == (5, 4, 1)
    done = found[-1]
    assert (done["ok"], done["error"]["code"], done["error"]["exit"]) == (False, "batch-partial", 7)


@pytest.mark.parametrize("how", ["--json", "--json-stream"])
def test_every_ending_is_told_in_json(pixart, tmp_path, how):
    (tmp_path / "list.txt").write_text("sun\n  --stteps 3\n")
    for args in (["list.txt"], ["none.txt"], ["list.txt", "--shard", "5/4"], ["list.txt", "--nope"]):
        ran = pixart("batch", *args, how)
        told = json.loads(ran.out.splitlines()[-1]) if how == "--json-stream" else ran.json
        assert (ran.code, told["ok"], told["error"]["exit"]) == (2, False, 2)


def test_the_document_holds_pictures_and_failures(pixart, prompts, tmp_path):
    prompts.write_text("sun\n  -s 1\nmoon\n  --init-image none.png\n")
    told = pixart("batch", "list.txt", "--json", *SMALL).json
    assert ([image["path"] for image in told["images"]], len(told["failed"])) == (["sun-1.png"], 1)
    assert (told["error"]["code"], told["drawn"], told["existing"]) == ("batch-partial", 1, 0)
    prompts.write_text("sun\n  -s 1\n")
    told = pixart("batch", "list.txt", "--json", *SMALL).json
    assert (told["ok"], told["images"], told["failed"]) == (True, [], [])
    assert (told["drawn"], told["existing"]) == (0, 1)


def test_a_wrong_line_is_found_before_anything_is_drawn(pixart, tmp_path, stand_in):
    (tmp_path / "list.txt").write_text("sun\nmoon\n  --stteps 3\n")
    ran = pixart("batch", "list.txt", *SMALL)
    assert (ran.code, stand_in.drawn) == (2, [])
    assert "list.txt:3:3" in ran.err
    (tmp_path / "list.txt").write_text("sun\nmoon\n  --model nonsuch\n")
    ran = pixart("batch", "list.txt", *SMALL)
    assert (ran.code, stand_in.drawn) == (2, [])
    assert "list.txt:2: " in ran.err


@pytest.mark.parametrize("output", ["-", "one.png"])
def test_an_output_for_one_picture_alone_is_refused(pixart, prompts, output):
    ran = pixart("batch", "list.txt", "-o", output)
    assert ran.code == 2
    assert "do not fit" in ran.err


def test_pictures_that_would_not_be_found_again_are_refused(pixart, prompts):
    ran = pixart("batch", "list.txt", "--metadata", "none")
    assert (ran.code, "{fingerprint}" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "args", [["--engine", "dask"], ["--format", "xml"], ["--json", "--json-stream"], ["--draft", "--direct"]]
)
def test_what_is_not_there_is_a_usage_error(pixart, prompts, args):
    assert pixart("batch", "list.txt", *args).code == 2


@pytest.mark.parametrize("text", ["0/0", "5/4", "1", "a/b", "1/4/2", "-1/4"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(PixartError, match="--shard"):
        parse_shard(text)


def test_shards_counted_from_0_or_from_1_are_the_same():
    assert [parse_shard(text) for text in (None, "0/4", "4/4")] == [(0, 1), (0, 4), (4, 4)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_leaves_after_the_step_and_keeps_what_is_drawn(tmp_path, number, code):
    (tmp_path / "list.txt").write_text("sun\n  -s 1\nslow\nmoon\n  -s 1\n")
    process = start(tmp_path, "list.txt", *SMALL, "--json-stream")
    wait_until(b"ready", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert b"once more leaves at once" in err
    found = events(out.decode())
    assert [event["path"] for event in found if event["event"] == "image"] == ["sun-1.png"]
    assert (found[-1]["event"], found[-1]["error"]["exit"]) == ("done", code)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "records.jsonl", "sun-1.png"]


def test_the_second_signal_leaves_at_once(tmp_path):
    (tmp_path / "list.txt").write_text("stuck\n")
    process = start(tmp_path, "list.txt", *SMALL)
    wait_until(b"ready", process)
    process.send_signal(signal.SIGINT)
    wait_until(b"leaving after this step", process)  # two at once would be one to the system
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 130
    process.communicate()


def test_a_signal_is_heeded_while_the_list_is_waited_for(tmp_path):
    process = start(tmp_path, "-", *SMALL, "--json-stream", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert b'"start"' in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE) == 143
    process.communicate()


def test_two_batches_in_one_folder_draw_every_picture_and_no_half_one(tmp_path):
    prompts = [f"sun {n}" for n in range(12)]
    (tmp_path / "a.txt").write_text("\n".join(prompts))
    (tmp_path / "b.txt").write_text("\n".join(reversed(prompts)))
    both = [start(tmp_path, name, *SMALL, "-o", "out/") for name in ("a.txt", "b.txt")]
    names = [line for process in both for line in process.communicate(timeout=PATIENCE)[0].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(names) == len(set(names)) == 12
    assert len(list((tmp_path / "out").glob("*.png"))) == 12
    records = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    assert sum(not json.loads(line)["by_another"] for line in records) == 12


def test_exclusive_is_alone(tmp_path, pixart, stand_in):
    (tmp_path / "list.txt").write_text("sun\n")
    for first, second in ((False, ["--exclusive"]), (True, [])):
        with occupied(tmp_path, exclusive=first):
            assert pixart("batch", "list.txt", *SMALL, *second).code == 10
    assert stand_in.drawn == []
    assert pixart("batch", "list.txt", *SMALL, "--exclusive").code == 0


def test_a_warning_names_the_line_and_is_in_the_event(pixart, tmp_path):
    (tmp_path / "list.txt").write_text("sun\nzeppelin\n")
    assert "warning: list.txt:2: mini was never taught: zeppelin" in pixart("batch", "list.txt", *SMALL).err
    found = events(pixart("batch", "list.txt", *SMALL, "-f", "--json-stream").out)
    assert [event["warnings"] for event in found if event["event"] == "image"][1]


def test_fail_fast_is_7_at_the_first(pixart, tmp_path, stand_in):
    (tmp_path / "list.txt").write_text("a\n  --init-image none.png\nb\n")
    assert pixart("batch", "list.txt", *SMALL, "--fail-fast").code == 7
    assert stand_in.drawn == []
    assert pixart("batch", "list.txt", *SMALL).code == 7
    assert len(stand_in.drawn) == 1
    assert (tmp_path / "failed.txt").exists()


def test_names_that_nobody_reads_stop_nothing(monkeypatch, prompts, tmp_path, stand_in):
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        code = run(["batch", "list.txt", *SMALL], renderers=lambda model, plan: stand_in)
    assert (code, len(list(tmp_path.glob("*.png")))) == (141, 4)


def test_real_pictures_of_a_batch_have_the_bytes_of_gen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a red sun\n  -s 4\na white moon\n  -s 5\n")
    small = ("-r", "64x64", "--steps", "1", "-q", "--device", "cpu")
    assert run(["batch", "list.txt", "-o", "batch/", *small]) == 0
    assert run(["gen", "a white moon", "-s", "5", "-o", "gen/", *small]) == 0
    name = "a-white-moon-5.png"
    assert (tmp_path / "batch" / name).read_bytes() == (tmp_path / "gen" / name).read_bytes()


def test_who_draws_nothing_loads_no_network_library(tmp_path):
    (tmp_path / "wrong.txt").write_text("sun\n  --model nonsuch\n")
    (tmp_path / "list.txt").write_text("sun\n")
    code = (
        "import sys; from pixart_cli.cli.app import run\n"
        "codes = [run(['batch', 'wrong.txt']), run(['batch', 'list.txt', '--check'])]\n"
        "print([name for name in ('torch', 'diffusers', 'numpy', 'rich') if name in sys.modules], codes)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] [2, 0]"
