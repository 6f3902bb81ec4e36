"""A whole batch, without the terminal: nothing is lost, nothing drawn twice, and every failure is kept."""

import json

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.core.prompt_list import read_jobs
from pixart_cli.diffusion.weights import locate
from pixart_cli.features.batch.engine import Failed, Published
from pixart_cli.features.batch.run import Refused
from tests.conftest import StandIn
from tests.features.batch.conftest import SMALL, Moody, entry, failing

LIST = [entry(prompt, line) for line, prompt in enumerate(("red sun", "white moon", "green hill"), 1)]


def test_a_second_run_draws_nothing(runs):
    assert len(runs.drawn(LIST)) == 3
    before = runs.there()
    again = StandIn()
    assert runs.drawn(LIST, again) == []
    assert (again.drawn, runs.there()) == ([], before)
    assert (runs.batch.tally.existing, runs.batch.tally.drawn) == (3, 0)


def test_pictures_of_other_weights_stay_and_are_counted(runs):
    weights = locate("mini").revision
    runs.drawn(LIST[:1], StandIn(facts={"weights": "sha256:of another edition"}))
    runs.drawn(LIST[1:2], StandIn(facts={"weights": weights}))
    runs.drawn(LIST[2:])  # says nothing of its weights
    assert runs.drawn(LIST) == []
    assert (runs.batch.tally.existing, dict(runs.batch.tally.outdated)) == (3, {"mini": 1})
    assert len(runs.drawn(LIST, StandIn(facts={"weights": weights}), force=True)) == 3
    assert runs.drawn(LIST) == []
    assert runs.batch.tally.outdated.total() == 0


def test_a_list_in_another_order_and_with_more_in_it_draws_the_new_alone(runs):
    runs.drawn(LIST)
    assert runs.drawn([entry("blue sea"), *reversed(LIST)]) == [
        name for name in runs.there() if "blue" in name
    ]


def test_an_edited_prompt_is_another_picture_and_the_old_one_stays(runs):
    (first,) = runs.drawn([entry("red sun", seed=1)])
    (second,) = runs.drawn([entry("red sun", seed=1, steps=3)])
    assert first == "red-sun-1.png"
    assert second.startswith("red-sun-1-")
    assert runs.there() == sorted([first, second])
    for both in ([entry("red sun", seed=1), entry("red sun", seed=1, steps=3)],) * 2:
        assert runs.drawn(list(reversed(both))) == []


def test_two_pictures_of_one_name_in_one_list_both_exist(runs):
    both = [entry("red sun", seed=1), entry("red sun!", seed=1)]
    assert len(set(runs.drawn(both))) == 2
    assert runs.drawn(both) == []


def test_the_same_picture_twice_is_drawn_once(runs):
    assert len(runs.drawn([entry("red sun", line) for line in (1, 2, 3)])) == 1


def test_somebody_elses_file_is_left_alone(runs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "red-sun-1.png").write_bytes(b"not a picture")
    (name,) = runs.drawn([entry("red sun", seed=1)])
    assert name.startswith("red-sun-1-")
    assert (tmp_path / "out" / "red-sun-1.png").read_bytes() == b"not a picture"


def test_a_damaged_picture_is_drawn_again_beside_it(runs, tmp_path):
    (name,) = runs.drawn([entry("red sun", seed=1)])
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-20])
    assert len(runs.drawn([entry("red sun", seed=1)])) == 1


def test_force_draws_again_and_loses_none(runs):
    both = [entry("red sun", seed=1), entry("red sun!", seed=1)]
    runs.drawn(both)
    before = runs.there()
    assert sorted(runs.drawn(both, force=True)) == before
    assert runs.there() == before


def test_pictures_without_metadata_are_known_by_their_names(runs):
    typed = {**SMALL, "metadata": "none", "output": "out/{fingerprint:16}.png"}
    assert len(runs.drawn(LIST, typed=typed)) == 3
    assert runs.drawn(LIST, typed=typed) == []


@pytest.mark.parametrize("word", ["poison", "gall"])
@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_poisonous_prompt_costs_only_itself(runs, word, at):
    jobs = [entry(f"sun {n}", n) for n in range(6)]
    jobs[at] = entry(f"{word} sun", at)
    events = list(runs.events(jobs, Moody()))
    assert [event.task.entry.line for event in events if isinstance(event, Failed)] == [at]
    assert sum(isinstance(event, Published) for event in events) == 5
    assert "it is poison" in (runs.folder / "out" / "failed.txt").read_text()


def test_failed_txt_is_a_list_of_all_that_a_run_needs(runs):
    typed = {**SMALL, "steps": 4, "negative": "a {blue} square"}
    jobs = [entry("red sun", 1), entry("# poison {a|b}\\ ", 2, count=2, guidance=3.0)]
    list(runs.events(jobs, Moody(failing("out-of-memory", "memory ran\nout")), typed=typed))
    text = (runs.folder / "out" / "failed.txt").read_text()
    assert text.count("out-of-memory: memory ran out") == 2
    again = list(read_jobs(text.splitlines(), name="failed.txt"))
    source = runs.folder / "out" / "failed.txt"
    assert runs.drawn(again, typed={}, source=source) == [name for name in runs.there() if "poison" in name]
    assert not source.exists()
    assert runs.drawn(jobs, typed=typed) == []


def test_failures_of_another_list_stay_until_they_are_made(runs):
    list(runs.events([entry("poison one")], Moody()))
    list(runs.events([entry("poison two"), entry("sun")], Moody()))
    path = runs.folder / "out" / "failed.txt"
    assert [word in path.read_text() for word in ("one", "two")] == [True, True]
    runs.drawn([entry("poison one")])
    assert [word in path.read_text() for word in ("one", "two")] == [False, True]


def test_a_wrong_file_of_one_prompt_is_its_own_failure(runs):
    jobs = [entry("a", 1), entry("b", 2, init_image="none.png"), entry("c", 3)]
    events = list(runs.events(jobs))
    assert [event.entry.line for event in events if isinstance(event, Refused)] == [2]
    assert runs.batch.tally.drawn == 2
    assert "init-image-missing" in (runs.folder / "out" / "failed.txt").read_text()


def test_fail_fast_ends_at_the_first(runs):
    jobs = [entry("sun", 1), entry("poison", 2), entry("moon", 3)]
    list(runs.events(jobs, Moody(), fail_fast=True))
    assert (runs.batch.tally.drawn, runs.batch.tally.failed) == (1, 1)
    assert (runs.folder / "out" / "failed.txt").exists()


@pytest.mark.parametrize("code", ["disk", "model-missing", "weights-invalid"])
def test_what_no_picture_would_escape_ends_the_batch(runs, code):
    moody = Moody(failing(code))
    with pytest.raises(PixartError) as caught:
        list(runs.events([entry("sun"), entry("poison"), entry("moon")], moody))
    assert caught.value.code == code
    assert runs.batch.tally.drawn == 1
    assert not (runs.folder / "out" / "failed.txt").exists()


def test_a_model_that_one_prompt_named_is_that_prompts_failure(runs, toy_folder):
    jobs = [entry("sun", 1), entry("poison", 2, model=str(toy_folder)), entry("moon", 3)]
    list(runs.events(jobs, Moody(failing("weights-invalid"))))
    assert (runs.batch.tally.drawn, runs.batch.tally.failed) == (2, 1)


def test_the_same_bug_ten_times_in_a_row_is_no_picture_s(runs):
    with pytest.raises(PixartError, match="ValueError: it is poison"):
        list(runs.events([entry(f"poison {n}") for n in range(20)], Moody()))
    assert runs.batch.tally.failed == 9


def test_a_wrong_line_ends_the_batch_after_what_was_drawn(runs):
    def jobs():
        yield from LIST
        raise PixartError("prompt-list-invalid", "list.txt:4: wrong")

    with pytest.raises(PixartError, match=r"list\.txt:4"):
        list(runs.events(jobs()))
    assert len(runs.there()) == 3


def test_records_have_a_line_a_picture_and_mend_a_torn_one(runs):
    path = runs.folder / "out" / "records.jsonl"
    runs.drawn(LIST[:1])
    path.write_text(path.read_text() + '{"torn')
    runs.drawn(LIST)
    lines = path.read_text().splitlines()
    assert lines[1] == '{"torn'
    assert [json.loads(lines[n])["prompt"] for n in (0, 2, 3)] == ["red sun", "white moon", "green hill"]


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_are_complete_and_disjoint(runs, parts):
    jobs = [entry(f"sun {n}", n) for n in range(20)]
    found = [
        runs.drawn(jobs if part % 2 else jobs[::-1], shard=(part, parts)) for part in range(1, parts + 1)
    ]
    assert sorted(name for names in found for name in names) == [
        name for name in runs.there() if name.endswith(".png")
    ]
