"""Which models are here, how whole, and what may go."""

import pytest

from pixart_cli.core.catalog import catalog
from pixart_cli.core.errors import PixartError
from pixart_cli.diffusion.hub_cache import hub_cache
from pixart_cli.diffusion.records import read_record, write_record
from pixart_cli.features.models import ModelState, folders, plan_removal, remove, survey, verify
from tests.loopback_hub import COMMIT, lay, toy_repos


@pytest.fixture(scope="module")
def repos(toy_folder):
    return toy_repos(toy_folder)


def state_of(name):
    return next(state for state in survey() if state.spec.name == name)


def test_every_row_of_the_catalogue_is_here_or_says_why_not():
    states = survey()
    assert [state.spec.name for state in states] == list(catalog())
    assert all((state.installed is None) is (state.problem is not None) for state in states)
    absent = state_of("sigma-256")
    assert (absent.problem.code, absent.damaged, absent.word, absent.revision) == (
        "model-missing", False, "not here", "",
    )  # fmt: skip


def test_damaged_is_not_absent():
    spec = catalog()["sigma-256"]
    assert ModelState(spec=spec, problem=PixartError("weights-invalid", "torn")).damaged


def test_folders_of_a_model_folder(toy_folder):
    assert folders(str(toy_folder))["vae"] == toy_folder / "vae"
    with pytest.raises(PixartError):
        folders("sigma-256")


def test_words_and_revisions(repos):
    record = lay(repos)
    assert (state_of("sigma-256").word, state_of("sigma-256").revision) == ("here", COMMIT)
    write_record(record)
    assert state_of("sigma-256").record.verified
    record.files[0].path.unlink()
    partial = state_of("sigma-256")
    assert (partial.word, partial.revision) == ("partial", COMMIT)
    assert partial.bytes_here < sum(file.size for file in record.files)
    write_record(record.with_states({record.files[1].key: "damaged"}))
    assert state_of("sigma-256").word == "damaged"


def test_files_of_other_tools_are_compared_with_the_names_of_their_blobs(repos):
    record = lay(repos)
    (verdict,) = verify(["sigma-256"], deep=True, on_check=lambda _: None)
    assert (verdict.problem, verdict.hashed) == (None, 11)
    blob = record.files[-1].path.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    (verdict,) = verify(["sigma-256"], deep=True, on_check=lambda _: None)
    assert verdict.problem.code == "weights-invalid"
    assert verdict.damaged == (str(record.files[-1].path),)


def test_a_folder_is_verified_by_its_headers(toy_folder, tmp_path):
    (verdict,) = verify([str(toy_folder)], deep=True, on_check=lambda _: None)
    assert (verdict.problem, verdict.files) == (None, 0)
    (verdict,) = verify([str(tmp_path)], deep=False, on_check=lambda _: None)
    assert verdict.problem.code == "weights-invalid"


def test_every_damaged_file_is_counted(repos):
    record = lay(repos)
    write_record(record)
    for file in record.files[-2:]:
        file.path.resolve().write_bytes(bytes(file.size))
    events = []
    (verdict,) = verify(["sigma-256"], deep=True, on_check=events.append)
    assert "and 1 more" in verdict.problem.message
    assert events[-1].total_done == events[-1].total == sum(file.size for file in record.files)
    assert list(read_record("sigma-256").states.values()).count("damaged") == 2


def test_an_unfinished_download_keeps_what_it_will_go_on_from(repos):
    write_record(lay(repos))
    other = lay(repos, "sigma-512")
    write_record(other.with_states({other.files[-1].key: "unchecked"}))
    removal = plan_removal("sigma-256")
    assert removal.shared_with == ("sigma-512",)
    assert {path.parent.name for path in removal.paths} == {"transformer"}
    remove(removal, print)
    assert all(file.path.is_file() for file in other.files)


def test_what_no_record_tells_of_can_be_removed(repos):
    lay(repos)
    removal = plan_removal("sigma-256")
    assert (removal.has_record, len(removal.paths)) == (False, 11)
    assert removal.size_bytes > 400_000
    remove(removal, print)
    assert not list(hub_cache().glob("models--*"))
    with pytest.raises(PixartError, match="nothing of sigma-256") as caught:
        plan_removal("sigma-256")
    assert caught.value.code == "model-missing"


@pytest.mark.parametrize(("name", "code"), [("mini", "request-invalid"), ("/a/folder", "model-unknown")])
def test_what_is_not_in_the_cache_is_not_removed(name, code):
    with pytest.raises(PixartError) as caught:
        plan_removal(name)
    assert caught.value.code == code
