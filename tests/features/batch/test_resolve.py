"""From a prompt and two layers of options to a picture with a fingerprint and a place."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import read_entries
from pixart_cli.features.batch.resolve import Resolver, in_shard, seed_of
from tests.features.batch.conftest import SMALL, entry


def test_a_prompts_options_win_over_the_commands_and_those_over_files(tmp_path):
    (tmp_path / "pixart.toml").write_text("steps = 9\nguidance = 3.0\nnegative = 'mud'\n")
    resolver = Resolver({**SMALL, "guidance": 4.0, "seed": 5}, cwd=tmp_path)
    (task,) = resolver.tasks(entry("sun", seed=6), 0)
    request = task.request
    assert (request.num_inference_steps, request.guidance_scale, request.seed) == (9, 4.0, 6)
    assert request.negative_prompt == "mud"


def test_count_makes_neighbouring_seeds_and_indexes(resolver):
    tasks = resolver.tasks(entry("sun", count=3), 10)
    assert [task.request.seed - seed_of("sun") for task in tasks] == [0, 1, 2]
    assert [task.job.index for task in tasks] == [10, 11, 12]


def test_a_seed_follows_from_the_prompt_in_every_version():
    assert seed_of("a red sun") == 2416582915
    assert seed_of("a red sun") != seed_of("a red sun ")


def test_a_place_of_its_own_is_a_prompts_right(resolver, tmp_path):
    (task,) = resolver.tasks(entry("sun", output="posters/{index}.png"), 6)
    assert task.paths[0] == tmp_path / "posters" / "000007.png"


@pytest.mark.parametrize("options", [{"model": "nonsuch"}, {"res": "0x0"}, {"preset": "nonsuch"}])
def test_a_mistake_names_list_and_line(resolver, options):
    with pytest.raises(PixartError, match=r"^list\.txt:4: "):
        resolver.tasks(entry("sun", 4, **options), 0)


def test_a_survey_counts_and_checks_without_init_images(resolver):
    text = "a {b|c} sun\n  -n 3\nmoon\n  --init-image none.png --strength 0.5\n"
    found = [resolver.survey(each) for each in read_entries(text.splitlines(), name="list.txt")]
    assert found == [(3, "mini"), (1, "mini")]
    typed = Resolver({**SMALL, "strength": 0.4}, cwd=resolver.folder.parent)
    (picture,) = read_entries(["moon", "  --init-image none.png"], name="list.txt")
    assert typed.survey(picture) == (1, "mini")


def test_two_models_of_one_last_name_are_refused(resolver, toy_folder, tmp_path):
    """A picture records the last name alone: the second model's pictures would be taken for the first's."""
    folders = [tmp_path / name / "model" for name in ("a", "b", "link")]
    for folder in folders:
        folder.parent.mkdir()
    for folder in folders[:2]:
        shutil.copytree(toy_folder, folder)
    folders[2].symlink_to(folders[0])
    resolver.tasks(entry("sun", 1, model=str(folders[0])), 0)
    resolver.tasks(entry("moon", 2, model=str(folders[2])), 1)
    with pytest.raises(PixartError, match=r"^list\.txt:3: .* have one last name") as caught:
        resolver.tasks(entry("star", 3, model=str(folders[1])), 2)
    assert caught.value.exit_code == 2


def test_a_model_named_as_one_of_the_catalogue_is_another(resolver, toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "mini")
    resolver.tasks(entry("sun", 1), 0)
    with pytest.raises(PixartError, match="have one last name"):
        resolver.tasks(entry("sun", 2, model=str(tmp_path / "mini")), 1)


def test_a_file_that_the_command_names_is_looked_for_at_once(tmp_path):
    with pytest.raises(PixartError) as caught:
        Resolver({**SMALL, "init_image": "none.png"}, cwd=tmp_path)
    assert caught.value.code == "init-image-missing"


@given(st.integers(0, 2**256 - 1), st.integers(1, 40))
def test_every_picture_is_of_exactly_one_part(number, parts):
    fingerprint = f"{number:064x}"
    assert sum(in_shard(fingerprint, (part, parts)) for part in range(parts)) == 1
    assert in_shard(fingerprint, (0, parts)) == in_shard(fingerprint, (parts, parts))
