"""Plans and pulls, with the real client in this process; `tests/cli/test_models.py` has the faults."""

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.hub_cache import discard, repo_folder
from pixart_cli.diffusion.hub_failure import RevisionGoneError
from pixart_cli.diffusion.pull import plan_pull, pull
from pixart_cli.diffusion.records import read_record, write_record
from pixart_cli.diffusion.weights import locate
from tests.loopback_hub import COMMIT, go_online, lay, serving, toy_repos

SPEC = catalog()["sigma-256"]
NEWER = "f" * 40


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


@pytest.fixture
def hub(repos, monkeypatch):
    with serving({repo: dict(files) for repo, files in repos.items()}) as hub:
        go_online(monkeypatch, hub.address)
        yield hub


def test_a_plan_downloads_nothing_and_knows_the_size(hub):
    plan = plan_pull(SPEC, print)
    assert (hub.fetched(""), len(plan.missing), plan.is_done) == (0, 11, False)
    assert plan.bytes_to_fetch == sum({file.digest: file.size for file in plan.record.files}.values())
    assert read_record("sigma-256") is None


def test_events_count_every_byte_of_every_file(hub):
    events = []
    found = pull(plan_pull(SPEC, print), events.append, print)
    assert found.revision == COMMIT
    assert (events[-1].index, events[-1].count) == (11, 11)
    assert (
        events[-1].total_done == events[-1].total == sum(file.size for file in read_record("sigma-256").files)
    )
    assert [event.total_done for event in events] == sorted(event.total_done for event in events)
    assert {event.stage for event in events} == {"fetch"}
    plan = plan_pull(SPEC, print, offline=True)
    assert plan.is_done
    assert pull(plan, events.append, print).revision == COMMIT


def test_a_pull_keeps_to_the_commit_it_began_with_as_long_as_that_is_there(hub):
    pull(plan_pull(SPEC, print), lambda _: None, print)
    hub.commit = NEWER
    assert locate("sigma-256").revision == COMMIT
    discard(read_record("sigma-256").files[-1].path)
    plan = plan_pull(SPEC, print)
    with pytest.raises(RevisionGoneError, match="does not have this revision"):
        pull(plan, lambda _: None, print)
    fetched = hub.fetched("")
    pull(plan_pull(SPEC, print, afresh=True), lambda _: None, print)
    # What is whole and was compared stays; the rest is today's.
    assert set(locate("sigma-256").commits) == {COMMIT, NEWER}
    assert hub.fetched("") == fetched + 1  # the one that was discarded


def test_bytes_that_are_here_under_another_commit_are_not_fetched(hub, repos):
    record = lay(repos, commit=NEWER)
    discard(next(file.path for file in record.files if file.name.startswith("transformer/diff")))
    plan = plan_pull(SPEC, print)
    assert {file.commit for file in plan.missing} == {COMMIT}
    assert len(plan.missing) == 11
    weights = next(file for file in plan.missing if file.name.startswith("transformer/diff"))
    assert plan.bytes_to_fetch == weights.size
    pull(plan, lambda _: None, print)
    assert hub.fetched("") == 1


def test_offline_there_is_no_plan_but_for_what_is_whole(repos, monkeypatch):
    with pytest.raises(PixartError) as caught:
        plan_pull(SPEC, print, offline=True)
    assert caught.value.code == "model-missing"
    record = lay(repos)
    write_record(record)
    assert plan_pull(SPEC, print).is_done  # HF_HUB_OFFLINE is set in every test
    discard(record.files[0].path)
    with pytest.raises(PixartError):
        plan_pull(SPEC, print)


def test_a_damaged_file_that_models_share_is_replaced_for_all(hub, repos):
    for name in ("sigma-256", "sigma-512"):
        write_record(lay(repos, name))
    shared = next(file for file in read_record("sigma-256").files if file.name.startswith("vae/diff"))
    states = {shared.key: "damaged"}
    for name in ("sigma-256", "sigma-512"):
        write_record(read_record(name).with_states(states))
    pull(plan_pull(SPEC, print), lambda _: None, print)
    assert hub.fetched("") == 1
    assert locate("sigma-512").revision == COMMIT


def test_main_is_moved_only_to_what_was_asked_for_as_main(hub, repos):
    lay(repos)
    main = repo_folder(SPEC.parts["vae"].repo) / "refs" / "main"
    main.write_text(NEWER)
    pull(plan_pull(SPEC, print), lambda _: None, print)
    assert main.read_text() == NEWER
    main.unlink()
    pull(plan_pull(catalog()["sigma-512"], print), lambda _: None, print)
    assert main.read_text() == COMMIT
