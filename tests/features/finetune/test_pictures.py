"""What is found in a folder, and what cannot be used."""

import json

import pytest
from PIL import Image

from pixart_cli.features.finetune.pictures import find_pictures
from tests.features.finetune.conftest import add_tar, png


def test_captions_from_texts_lines_and_tars(pictures) -> None:
    found = find_pictures(pictures)
    assert found.skipped == ()
    captions = {each.name: each.caption for each in found.pictures}
    assert captions == {
        "more.tar/a/0.png": "the black sea", "more.tar/a/1.png": "a mountain", "tall.png": "a blue moon",
        "wide0.png": "a red sun", "wide1.png": "a red sun over the sea", "wide2.png": "a green hill",
    }  # fmt: skip
    assert list(captions) == sorted(captions)


def test_every_picture_can_be_read_where_it_is_said_to_be(pictures) -> None:
    for each in find_pictures(pictures).pictures:
        data = each.read()
        assert data.startswith(b"\x89PNG")
        assert len(data) == each.size_bytes
    inside = next(each for each in find_pictures(pictures).pictures if each.name == "more.tar/a/1.png")
    assert (inside.width, inside.height) == (22, 61)


def test_a_tar_alone_is_a_data_set(pictures) -> None:
    assert len(find_pictures(pictures / "more.tar").pictures) == 2


def test_everything_that_cannot_be_used_is_listed(tmp_path) -> None:
    (tmp_path / "bare.png").write_bytes(png(9, 9))
    (tmp_path / "lost.txt").write_text("a caption")
    (tmp_path / "no.png").write_bytes(b"text")
    (tmp_path / "no.txt").write_text("a caption")
    (tmp_path / "binary.png").write_bytes(png(9, 9))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    lines = [b"{", b'{"file_name": "x.png"}', json.dumps({"file_name": "gone.png", "text": "t"}).encode()]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    add_tar(tmp_path / "b.tar", {"0.txt": b"only a caption", "1.png": png(9, 9)})
    (tmp_path / "cut.tar").write_bytes(b"no tar")
    found = find_pictures(tmp_path)
    assert found.pictures == ()
    why = {each.name: each.why for each in found.skipped}
    assert set(why) == {
        "bare.png", "lost.txt", "no.png", "binary.png", "a.jsonl:1", "a.jsonl:2", "gone.png", "b.tar/0",
        "b.tar/1.png", "cut.tar",
    }  # fmt: skip
    assert why["bare.png"] == why["b.tar/1.png"] == "it has no caption"
    assert why["lost.txt"] == why["b.tar/0"] == "a caption without a picture"
    assert "caption without a picture" in why["gone.png"]
    assert "no picture" in why["no.png"]


def test_one_caption_can_serve_all_that_have_none(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(png(9, 9))
    (tmp_path / "a.txt").write_text("its  own\n")
    found = find_pictures(tmp_path, caption="a sks dog")
    assert [each.caption for each in found.pictures] == ["its own", "a sks dog"]


def test_a_turned_photograph_has_the_size_it_is_seen_in(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    (found,) = find_pictures(tmp_path, caption="x").pictures
    assert (found.width, found.height) == (10, 30)


@pytest.mark.parametrize("name", [".hidden.png", "notes.md", "a.gif"])
def test_other_files_are_nobody_s_business(tmp_path, name: str) -> None:
    (tmp_path / name).write_bytes(png(9, 9))
    found = find_pictures(tmp_path, caption="x")
    assert (found.pictures, found.skipped) == ((), ())


def test_half_a_surrogate_pair_is_no_caption(tmp_path) -> None:
    (tmp_path / "fox.png").write_bytes(png(9, 9))
    (tmp_path / "a.jsonl").write_text('{"file_name": "fox.png", "text": "a fox \\ud83d"}\n')
    (skipped,) = find_pictures(tmp_path).skipped
    assert (skipped.name, "no text" in skipped.why) == ("fox.png", True)


def test_a_cut_off_exif_block_is_told_of_its_picture(tmp_path) -> None:
    picture = Image.new("RGB", (9, 9))
    for suffix in ("png", "webp"):
        picture.save(tmp_path / f"{suffix}.{suffix}", exif=b"Exif\x00\x00II*\x00\x08\x00\x00")
    found = find_pictures(tmp_path, caption="a fox")
    assert {each.name for each in found.skipped} == {"png.png", "webp.webp"}
