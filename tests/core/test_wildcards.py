"""Lists in files: found, nested, missing, circular, and none outside their folders."""

import pytest

from pixart_cli.core import wildcards
from pixart_cli.core.errors import PixartError
from pixart_cli.core.list_lines import Line
from pixart_cli.core.prompt_template import parse_template
from pixart_cli.core.wildcards import Wildcards, default_folders


@pytest.fixture
def write(tmp_path):
    def file(name, text, folder="wildcards"):
        path = tmp_path / folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return file


def combinations(text, *folders):
    template = parse_template(Line("x.txt", 4, text), Wildcards(folders))
    return [template.pick(number) for number in range(template.count)]


def refused(text, *folders):
    with pytest.raises(PixartError) as caught:
        combinations(text, *folders)
    assert caught.value.code == "prompt-list-invalid"
    return caught.value.message, caught.value.hint


def test_a_list_is_a_file_of_lines(tmp_path, write):
    write("colour", "\ufeff# warm\r\nred\r\n\r\n  dark red \n# end\n#f00\n\\#f00\norange")
    found = combinations("a {_colour_} sun", tmp_path / "wildcards")
    assert found == ["a red sun", "a dark red sun", "a #f00 sun", "a orange sun"]


def test_lists_draw_from_lists_and_offer_alternatives(tmp_path, write):
    write("sky", "{dark|light} {_colour_}\nclear")
    write("colour", "red\nblue")
    folder = tmp_path / "wildcards"
    assert combinations("{_sky_}", folder) == ["dark red", "dark blue", "light red", "light blue", "clear"]
    assert len(combinations("{_colour_} {_colour_}", folder)) == 4


def test_folders_are_searched_in_order_and_may_have_folders(tmp_path, write):
    write("colour", "red", "first")
    write("colour", "blue", "second")
    write("animals/big cats", "lion", "second")
    folders = (tmp_path / "nowhere", tmp_path / "first", tmp_path / "second")
    assert combinations("{_colour_} {_animals/big cats_}", *folders) == ["red lion"]


def test_a_list_that_is_missing_gets_a_suggestion(tmp_path, write):
    write("animals/colour", "red")
    write("colour", "red")
    folder = tmp_path / "wildcards"
    assert refused("a {_color_}", folder) == (
        "x.txt:4:4: no list is named 'color'",
        "Did you mean {_colour_}?",
    )
    assert refused("{_animals/color_}", folder)[1] == "Did you mean {_animals/colour_}?"
    assert refused("{_zzz_}", folder)[1] == f"Put zzz.txt in {folder}."
    assert refused("{_zzz_}")[1] == "Put zzz.txt in a folder of lists."


def test_circles_are_refused_with_their_chain(tmp_path, write):
    write("a", "x\n{_b_}")
    write("b", "{_c_}")
    path = write("c", "y\n  {z|{_b_}}")
    message, hint = refused("{_a_}", tmp_path / "wildcards")
    assert message == f"{path}:2:7: the list 'b' draws from itself: b -> c -> b"
    assert hint == "Break the circle."


def test_a_circle_is_told_again_when_it_is_asked_for_again(tmp_path, write):
    write("a", "{_a_}")
    lists = Wildcards([tmp_path / "wildcards"])
    for _ in range(2):
        with pytest.raises(PixartError, match="a -> a"):
            parse_template(Line("x.txt", 1, "{_a_}"), lists)


def test_a_chain_of_lists_has_an_end(tmp_path, write):
    for number in range(20):
        write(f"l{number}", f"{{_l{number + 1}_}}")
    write("l20", "red")
    folder = tmp_path / "wildcards"
    assert refused("{_l0_}", folder)[0].endswith("more than 10 lists within each other")
    assert combinations("{_l11_}", folder) == ["red"]


def test_the_deepest_of_lists_and_braces_are_read_and_drawn_from(tmp_path, write):
    for number in range(9):
        write(f"l{number}", "{a|" * 9 + f"{{_l{number + 1}_}}" + "}" * 9 if number < 8 else "red")
    assert combinations("{_l0_}", tmp_path / "wildcards")[-1] == "red"


def test_mistakes_in_a_list_name_the_list(tmp_path, write, monkeypatch):
    path = write("a", "red\n {blue")
    folder = tmp_path / "wildcards"
    assert refused("{_a_}", folder)[0] == f"{path}:2:2: a {{ that is never closed"
    path = write("a", "# nothing\n\n")
    assert refused("{_a_}", folder)[0] == f"{path}:1: a list without entries"
    path.write_bytes(b"red\nbl\xffue")
    assert refused("{_a_}", folder)[0] == f"{path}:2:3: not valid UTF-8"
    monkeypatch.setattr(wildcards, "MAX_ENTRIES", 2)
    path = write("a", "1\n2\n3")
    assert refused("{_a_}", folder)[0] == f"{path}:1: a list of more than 2 entries"


def test_no_list_is_read_twice(tmp_path, write):
    path = write("a", "red\nblue")
    lists = Wildcards([tmp_path / "wildcards"])
    assert parse_template(Line("x.txt", 1, "{_a_}"), lists).count == 2
    path.unlink()
    assert parse_template(Line("x.txt", 2, "{_a_}"), lists).count == 2


def test_lists_lie_beside_the_prompt_list_or_in_the_user_s_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {"PIXART_CONFIG_DIR": "/config"}
    user = default_folders(None, environ)[1]
    assert str(user) == "/config/wildcards"
    assert default_folders(tmp_path / "x" / "prompts.txt", environ) == (tmp_path / "x" / "wildcards", user)
    assert default_folders(None, environ) == (tmp_path / "wildcards", user)
