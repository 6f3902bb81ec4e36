from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixart_cli import __version__
from pixart_cli.core import infotext, metadata
from pixart_cli.core.errors import PixartError
from pixart_cli.core.fields import FIELDS, MAX_PROMPT_BYTES
from pixart_cli.core.init_image import Parent
from pixart_cli.core.png import encode, read_text
from pixart_cli.core.rendering import Rendering
from pixart_cli.core.request import GenerationRequest
from pixart_cli.core.resolution import Size

POSTER = Size(512, 256, dpi=300.0, name="a3", bleed_mm=3.0)
PROVENANCE = {"versions": {"torch": "2.13.0"}, "device": "cpu", "dtype": "float32", "native": [256, 256]}

REFINES = ("off", "auto", "direct", "1", "8")


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """Every value that a field of the table allows."""
    if field.choices:
        return st.sampled_from(field.choices)
    if field.name == "refine":
        return st.sampled_from(REFINES) | st.floats(0.05, 4).map(lambda strength: f"{strength:.3f}")
    if field.name == "lora":
        return st.sampled_from(["", "a" * 64 + ":1.0", f"{'a' * 64}:0.5+{'b' * 64}:-0.25"])
    if field.name == "init_image":
        return st.sampled_from(["", "c" * 64])
    if field.kind is str:
        text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
        return text.filter(str.strip) if field.default is None else text
    if field.kind is int:
        return st.integers(int(field.minimum), int(field.maximum))
    return st.floats(field.minimum, field.maximum)


REQUESTS = st.fixed_dictionaries(
    {field.name: values_of(field) for field in FIELDS if field.name != "model"}
    | {"model": st.sampled_from(["mini", "sigma-1024"])}
).map(lambda values: GenerationRequest(**values | ({} if values["init_image"] else {"strength": 1.0})))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just("cpu"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def request(**changes: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "prompt": "a red sun over blue mountains", "negative_prompt": "grey", "model": "mini", "width": 512,
        "height": 256, "num_inference_steps": 20, "guidance_scale": 4.5, "scheduler": "dpm++", "seed": 7,
    }  # fmt: skip
    return GenerationRequest(**values | changes)


def rendering(asked: GenerationRequest | None = None, **changes: Any) -> Rendering:
    values: dict[str, Any] = {"pixels": Image.new("RGB", (4, 2)), "provenance": PROVENANCE, "seconds": 1.5}
    return Rendering(request=asked or request(), **values | changes)


def written(
    path: Path, drawn: Rendering, *, level: metadata.Level = "full", preset: str | None = "poster"
) -> bytes:
    texts = metadata.texts_for(drawn, size=POSTER, preset=preset, level=level)
    data = encode(drawn.pixels, texts, dpi=POSTER.dpi)
    path.write_bytes(data)
    return data


def changed(change: Callable[[dict[str, Any]], Any]) -> str:
    """The JSON of a good record after `change`."""
    data = json.loads(metadata.dump(metadata.record_of(rendering(), size=POSTER, preset=None)))
    change(data)
    return json.dumps(data)


# ── there and back ──


@settings(max_examples=100)
@given(REQUESTS, st.dictionaries(st.sampled_from(["device", "native", "versions"]), JSON))
def test_every_request_comes_back_out_of_its_png(
    tmp_path_factory, asked: GenerationRequest, provenance: dict
) -> None:
    path = tmp_path_factory.mktemp("png") / "x.png"
    drawn = rendering(asked, provenance=provenance)
    data = written(path, drawn)
    record = metadata.read_record(path)
    assert record.request == asked
    assert record.fingerprint == asked.fingerprint
    assert record == metadata.record_of(drawn, size=POSTER, preset="poster")
    with Image.open(io.BytesIO(data)) as image:
        assert image.text["Description"] == asked.prompt
        assert json.loads(image.text["pixart"])["request"] == asked.to_dict()
        assert infotext.parse(image.text["parameters"])["seed"] == asked.seed


def test_a_full_picture_says_all(tmp_path: Path) -> None:
    written(tmp_path / "x.png", rendering())
    found = read_text(tmp_path / "x.png")
    assert list(found.texts) == [
        "pixart",
        "parameters",
        "Title",
        "Description",
        "Software",
        "XML:com.adobe.xmp",
    ]
    assert found.dpi == 300.0
    assert found.texts["Title"] == "a red sun over blue mountains"
    assert found.texts["Software"] == f"pixart {__version__}"
    assert json.loads(found.texts["pixart"]) == {
        "schema": "pixart.image/1",
        "fingerprint": request().fingerprint,
        "request": request().to_dict(),
        "provenance": PROVENANCE,
        "output": {"dpi": 300.0, "name": "a3", "preset": "poster"},
    }
    with Image.open(tmp_path / "x.png") as image:
        xmp = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert xmp["AISystemUsed"] == "pixart mini"
    assert xmp["AISystemVersionUsed"] == __version__
    assert xmp["AIPromptInformation"] == "a red sun over blue mountains\nNegative prompt: grey"


def test_a_minimal_picture_tells_no_prompt_but_that_ai_drew_it(tmp_path: Path) -> None:
    data = written(tmp_path / "x.png", rendering(), level="minimal")
    found = read_text(tmp_path / "x.png").texts
    assert list(found) == ["pixart", "Software", "XML:com.adobe.xmp"]
    assert json.loads(found["pixart"]) == {"schema": "pixart.image/1", "fingerprint": request().fingerprint}
    assert b"trainedAlgorithmicMedia" in data
    for word in (b"mountains", b"grey", b"mini"):
        assert word not in data
    with pytest.raises(PixartError, match="only its fingerprint") as caught:
        metadata.read_record(tmp_path / "x.png")
    assert caught.value.code == "metadata-missing"


def test_none_is_none(tmp_path: Path) -> None:
    written(tmp_path / "x.png", rendering(), level="none")
    assert read_text(tmp_path / "x.png").texts == {}
    with pytest.raises(PixartError, match="how it was made") as caught:
        metadata.read_record(tmp_path / "x.png")
    assert caught.value.code == "metadata-missing"


def test_same_request_same_bytes_however_long_it_took(tmp_path: Path) -> None:
    first = written(tmp_path / "1.png", rendering(seconds=1.0))
    shuffled = dict(reversed(PROVENANCE.items()))
    assert first == written(tmp_path / "2.png", rendering(seconds=99.0, provenance=shuffled))


def test_nothing_of_the_person_or_the_machine_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "zaphod"
    folder = home / "models" / "my-finetune"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "zaphod")
    monkeypatch.setattr("platform.node", lambda: "heartofgold.lan")
    provenance = {
        "weights": {"path": f"{folder}/transformer", "sha256": "ab" * 32},
        "note": f"zaphod@heartofgold.lan loaded {folder}",
    }
    data = written(tmp_path / "x.png", rendering(request(model=str(folder)), provenance=provenance))
    for secret in (b"zaphod", b"heartofgold", str(tmp_path).encode(), b"models/"):
        assert secret not in data
    record = metadata.read_record(tmp_path / "x.png")
    assert record.request.model == "my-finetune"
    assert record.provenance["weights"] == {"path": "transformer", "sha256": "ab" * 32}


def test_the_longest_prompts_fit(tmp_path: Path) -> None:
    for character in ("&", "\x01", '"'):
        asked = request(prompt=character * MAX_PROMPT_BYTES, negative_prompt=character * MAX_PROMPT_BYTES)
        written(tmp_path / "x.png", rendering(asked))
        assert metadata.read_record(tmp_path / "x.png").request == asked


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("a\n  sun", "a sun"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60 + "…"),
        ("word " * 20, "word " * 11 + "word…"),
    ],
)
def test_the_title_is_the_beginning_of_the_prompt(prompt: str, title: str) -> None:
    texts = dict(metadata.texts_for(rendering(request(prompt=prompt)), size=POSTER, preset=None))
    assert texts["Title"] == title
    assert texts["Description"] == prompt


def test_a_picture_made_from_another_names_it(tmp_path: Path) -> None:
    asked = request(init_image="a" * 64, strength=0.6)
    ours, foreign = Parent(sha256="a" * 64, fingerprint="b" * 64), Parent(sha256="a" * 64)
    for parent, source in ((ours, "/trained"), (foreign, "/compositeWithTrained")):
        for level in ("full", "minimal"):
            texts = metadata.texts_for(rendering(asked), size=POSTER, preset=None, parent=parent, level=level)
            assert f"{source}AlgorithmicMedia" in dict(texts)["XML:com.adobe.xmp"]
        texts = metadata.texts_for(rendering(asked), size=POSTER, preset=None, parent=parent)
        assert metadata.load(dict(texts)["pixart"], source="x").parent == parent
        assert json.loads(dict(texts)["pixart"])["parent"] == parent.to_dict()
    assert "parent" not in json.loads(
        metadata.dump(metadata.record_of(rendering(), size=POSTER, preset=None))
    )


def test_a_fingerprint_is_found_where_it_is_and_believed(tmp_path: Path) -> None:
    written(tmp_path / "full.png", rendering())
    written(tmp_path / "minimal.png", rendering(), level="minimal")
    written(tmp_path / "none.png", rendering(), level="none")
    found = {name: metadata.fingerprint_in(tmp_path / f"{name}.png") for name in ("full", "minimal", "none")}
    assert found == {"full": request().fingerprint, "minimal": request().fingerprint, "none": None}
    (tmp_path / "text.png").write_text("no picture")
    assert metadata.fingerprint_in(tmp_path / "text.png") is None
    texts = [("pixart", changed(lambda data: data["request"].update(seed=8)))]
    (tmp_path / "edited.png").write_bytes(encode(Image.new("RGB", (1, 1)), texts, dpi=None))
    assert metadata.fingerprint_in(tmp_path / "edited.png") is None


def test_a_mark_holds_the_weights_where_the_picture_says_them(tmp_path: Path) -> None:
    said = {"weights": "sha256:00"}
    written(tmp_path / "full.png", rendering(provenance=said))
    written(tmp_path / "minimal.png", rendering(provenance=said), level="minimal")
    written(tmp_path / "odd.png", rendering(provenance={"weights": ["00"]}))
    assert metadata.mark_in(tmp_path / "full.png") == metadata.Mark(request().fingerprint, "sha256:00")
    for name in ("minimal", "odd"):
        assert metadata.mark_in(tmp_path / f"{name}.png") == metadata.Mark(request().fingerprint)
    with (tmp_path / "full.png").open("rb") as file:
        assert metadata.mark_in_stream(file, "full.png") == metadata.mark_in(tmp_path / "full.png")
    assert metadata.mark_in(tmp_path / "none.png") is None


def test_provenance_must_be_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        metadata.texts_for(rendering(provenance={"x": math.nan}), size=POSTER, preset=None)


# ── what must not be believed ──


def test_a_request_from_before_a_field_existed_keeps_its_fingerprint() -> None:
    old = request().to_dict()
    del old["refine"]
    fingerprint = metadata.fingerprint_of(old)
    record = metadata.load(
        changed(lambda data: data.update(request=old, fingerprint=fingerprint)), source="x"
    )
    assert record.request == request()
    assert record.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(schema="pixart.image/2"), "version 2"),
        (lambda d: d.update(schema="other/1"), "schema"),
        (lambda d: d.update(schema=1), "schema"),
        (lambda d: d.pop("schema"), "schema"),
        (lambda d: d.pop("fingerprint"), "no fingerprint"),
        (lambda d: d.update(fingerprint="0" * 64), "edited"),
        (lambda d: d.update(fingerprint=5), "no fingerprint"),
        (lambda d: d["request"].update(seed=8), "edited"),
        (lambda d: d["request"].update(guidance_scale=10**400), "guidance cannot be"),
        (lambda d: d["request"].update(prompt="another"), "edited"),
        (lambda d: d["request"].update(prompt="nul\0"), "NUL"),
        (lambda d: d["request"].update(prompt=" "), "empty"),
        (lambda d: d["request"].update(sampler="x"), "unknown key 'sampler'"),
        (lambda d: d["request"].update(seed="7"), "seed"),
        (lambda d: d["request"].pop("seed"), "seed missing"),
        (lambda d: d.update(request=[]), "no request"),
        (lambda d: d.pop("provenance"), "no provenance"),
        (lambda d: d.update(output=None), "no output"),
        (lambda d: d.update(output={"dpi": "300"}), "output"),
        (lambda d: d.update(output={"dpi": True}), "output"),
        (lambda d: d.update(output={"dpi": 1e9}), "output"),
        (lambda d: d.update(output={"name": 5}), "output"),
        (lambda d: d.update(parent=[]), "wrong parent"),
        (lambda d: d.update(parent={}), "wrong parent"),
        (lambda d: d.update(parent={"sha256": "x"}), "wrong parent"),
        (lambda d: d.update(parent={"sha256": "a" * 64, "path": "/home"}), "wrong parent"),
        (lambda d: d.update(parent={"sha256": "a" * 64}), "request and parent disagree"),
        (lambda d: d["provenance"].update(x="\ud800"), "JSON"),
        (lambda d: d["provenance"].update(x=math.inf), "JSON"),
    ],
)
def test_a_record_that_was_tampered_with_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    with pytest.raises(PixartError, match=said) as caught:
        metadata.load(changed(change), source="x.png")
    assert caught.value.code == "metadata-invalid"
    assert caught.value.message.startswith("x.png: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 200_000, '{"a": ' + "9" * 5000 + "}", '"\\ud800"']
)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(PixartError, match="record") as caught:
        metadata.load(text, source="x.png")
    assert caught.value.code == "metadata-invalid"


@given(JSON)
def test_any_json_is_refused_in_words(data: Any) -> None:
    with pytest.raises(PixartError, match="record"):
        metadata.load(json.dumps(data), source="x.png")


def test_dump_and_load_are_inverse() -> None:
    record = metadata.record_of(
        rendering(), size=dataclasses.replace(POSTER, dpi=None, name=None), preset=None
    )
    assert metadata.load(metadata.dump(record), source="x") == record
