"""What may be said of the engine, and what is said back where that cannot be."""

import pytest

from pixart_cli.features.batch import cluster


@pytest.mark.parametrize("option", [("--workers", 2), ("--address", "a:1"), ("--gpus-per-worker", 0)])
def test_options_of_a_cluster_need_the_engine(pixart, tmp_path, option):
    (tmp_path / "list.txt").write_text("sun\n")
    ran = pixart("batch", "list.txt", *option)
    assert (ran.code, option[0] in ran.err, "--engine ray" in ran.err) == (2, True, True)


def test_without_ray_nothing_is_read_or_written(pixart, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    ran = pixart("batch", "no-such-list.txt", "--engine", "ray", "-o", "out/", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "extra-missing")
    assert "pip install 'pixart-cli[ray]'" in ran.json["error"]["hint"]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_none_is_refused(pixart, tmp_path):
    (tmp_path / "list.txt").write_text("sun\n")
    ran = pixart("batch", "list.txt", "-o", "ftp://host/out/")
    assert (ran.code, "s3://" in ran.err) == (2, True)
