from __future__ import annotations

from pathlib import Path

import pytest

from pixart_cli.core.privacy import last_name, public_request, scrub, scrub_text
from pixart_cli.core.request import GenerationRequest


@pytest.fixture(autouse=True)
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of somebody, who is in a folder elsewhere."""
    home = tmp_path / "al ice"
    (home / "models").mkdir(parents=True)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "alice.b")
    monkeypatch.setattr("platform.node", lambda: "vega.lan")
    return home


def request(model: str) -> GenerationRequest:
    return GenerationRequest(
        prompt="alice.b on vega, /home/x", model=model, width=64, height=64, num_inference_steps=1,
        guidance_scale=1.0, scheduler="euler", seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/srv/my models/finetune", "finetune"),
        ("~bob/x/weights.safetensors", "weights.safetensors"),
        (r"C:\Users\Bob\w.bin", "w.bin"),
        (r"\\nas\share\w.bin", "w.bin"),
        ("loaded /srv/a/b.bin, then (/x/y)", "loaded b.bin, then (y)"),
        ("root=file:///srv/a/b.bin", "root=b.bin"),
        ("by Alice.B on VEGA.lan and vega", "by <user> on <host> and <host>"),
        ("vegan alice", "vegan alice"),
        ("bf16/fp32 1.5 / 2 and/or", "bf16/fp32 1.5 / 2 and/or"),
        ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"),
        ("https://huggingface.co/PixArt-alpha/x", "https://huggingface.co/PixArt-alpha/x"),
        ("2.13.0+cpu", "2.13.0+cpu"),
        ("", ""),
        ("/", "folder"),
        ("caf\udce9", "caf?"),
    ],
)
def test_cuts_paths_and_names_and_nothing_else(text: str, clean: str) -> None:
    assert scrub_text(text) == clean


def test_folders_with_spaces_leave_nothing(alice: Path) -> None:
    assert scrub_text(f"see {alice}/models and {Path.cwd()}/out.png") == "see models and out.png"
    assert scrub_text(f"in {alice}") == "in ~"


def test_goes_through_keys_and_lists_and_keeps_numbers(alice: Path) -> None:
    assert scrub({str(alice / "w.bin"): ["alice.b", 1, None, True, 0.5], "t": ("vega",)}) == {
        "w.bin": ["<user>", 1, None, True, 0.5],
        "t": ["<host>"],
    }


def test_words_of_the_trade_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "nvidia")
    monkeypatch.setattr("platform.node", lambda: "cpu")
    assert scrub_text("NVIDIA H100, cpu") == "NVIDIA H100, cpu"
    monkeypatch.setenv("LOGNAME", "pixart")
    monkeypatch.setattr("platform.node", lambda: "mini")
    ours = {"pixart": "0.1.0", "family": "mini"}
    assert scrub(ours) == ours


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mini", "mini"),
        ("./runs/flat/", "flat"),
        ("~/models/x", "x"),
        ("~nobody-of-that-name/x", "x"),
        (".", "work"),
        ("/", "folder"),
        ("/srv/alice.b-lora", "<user>-lora"),
        ("caf\udce9", "caf?"),
    ],
)
def test_a_model_folder_is_recorded_by_its_last_name(model: str, name: str) -> None:
    public = public_request(request(model))
    assert public.model == name
    assert public.prompt == "alice.b on vega, /home/x"
    assert len(public.fingerprint) == 64


def test_the_home_folder_as_model_does_not_tell_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "carol"))
    assert public_request(request("~")).model == "<user>"


def test_last_name_of_nothing() -> None:
    assert last_name("") == "folder"


def test_works_where_the_current_folder_and_the_user_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise OSError("no such user")

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("getpass.getuser", nobody)
    assert scrub_text("/a/b") == "b"
