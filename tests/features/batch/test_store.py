"""Folders as a store: what `publishing` does, under the names that all stores share."""

import pickle

from pixart_cli.features.batch.publishing import Kept
from pixart_cli.features.batch.store import FOLDERS


def test_folders_create_replace_and_find(tmp_path):
    path = tmp_path / "a.png"
    assert FOLDERS.publish(b"one", [path], "0" * 64) == (path, False)
    FOLDERS.replace(b"two", path)
    assert path.read_bytes() == b"two"
    assert FOLDERS.find([path], "0" * 64) is None
    assert FOLDERS.find([path], "0" * 64, by_name=True) == Kept(path)
    assert FOLDERS.name(path) == str(path)
    FOLDERS.check()


def test_a_store_travels():
    assert isinstance(pickle.loads(pickle.dumps(FOLDERS)), type(FOLDERS))
