"""An object store behaves as a folder does. The server is moto's, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch import bucket
from pixart_cli.features.batch.bucket import Bucket, target_of
from pixart_cli.features.batch.publishing import Kept
from pixart_cli.features.batch.store import FOLDERS


def test_a_path_stays_what_it_is(tmp_path):
    for output in (None, "out/", "/x/{slug}.png", "a:b/", "-"):
        target = target_of(output, tmp_path)
        assert (target.output, target.folder, target.store) == (output, tmp_path, FOLDERS)


def test_a_files_url_is_a_path(tmp_path):
    assert target_of("file:///data/out/", tmp_path).output == "/data/out/"
    assert target_of("file://localhost/data/{seed}.png", tmp_path).output == "/data/{seed}.png"


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("ftp://host/out/", "no store that is known"),
        ("memory://out/", "no store that is known"),
        ("file://other/out/", "another machine"),
        ("s3://key:secret@bucket/out/", "no bucket"),
        ("s3:///out/", "no bucket"),
        ("s3://../out/", "no bucket"),
    ],
)
def test_an_url_that_cannot_be_used_is_refused(output, what, tmp_path):
    with pytest.raises(PixartError, match=what) as raised:
        target_of(output, tmp_path)
    assert raised.value.code == "output-invalid"
    assert "secret" not in raised.value.message


def test_a_store_whose_library_is_missing_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "find_spec", lambda name: None)
    for scheme, extra in (("s3", "s3"), ("gs", "gcs")):
        with pytest.raises(PixartError, match="not installed") as raised:
            target_of(f"{scheme}://bucket/out/", tmp_path)
        assert f"pip install 'pixart-cli[{extra}]'" in raised.value.hint


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("s3fs", reason="s3fs is not installed (pixart-cli[s3])")
    pytest.importorskip("moto", reason="moto[server] is not installed")
    url = f"http://127.0.0.1:{free_port()}"
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{url.rpartition(':')[2]}'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                threading.Event().wait(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def s3(server, monkeypatch, tmp_path):
    """A new bucket, which is named like the test's folder."""
    import fsspec

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = tmp_path.name.replace("_", "-").lower()
    files = fsspec.filesystem("s3", client_kwargs={"endpoint_url": server}, use_listings_cache=False)
    files.mkdir(name)
    return name, files


def test_a_batch_into_a_bucket_is_that_into_a_folder(s3, pixart, tmp_path):
    name, files = s3
    (tmp_path / "list.txt").write_text("sun {a|b|c}\n")
    small = ("-r", "64x48", "-q")
    first = pixart("batch", "list.txt", "-o", f"s3://{name}/posters/", *small)
    assert (first.code, first.err) == (0, "")
    names = sorted(first.out.split())
    assert [each.startswith(f"s3://{name}/posters/sun-") for each in names] == [True] * 3
    pixart("batch", "list.txt", "-o", "out/", *small)
    for each in names:
        assert files.cat_file(each) == (tmp_path / "out" / each.rpartition("/")[2]).read_bytes()
    again = pixart("batch", "list.txt", "-o", f"s3://{name}/posters/", *small)
    assert (again.code, again.out) == (0, "")
    assert sorted(path.name for path in (tmp_path / name / "posters").iterdir()) == ["records.jsonl"]


def test_what_failed_in_a_bucket_is_drawn_again_from_the_list_of_failures(s3, pixart, tmp_path, stand_in):
    name, files = s3
    (tmp_path / "list.txt").write_text("sun\nmoon\n")
    stand_in.fail_at = 1
    first = pixart("batch", "list.txt", "-o", f"s3://{name}/posters/", "-r", "64x48")
    assert (first.code, f"pixart batch {name}/posters/failed.txt" in first.err) == (7, True)
    stand_in.fail_at = None
    again = pixart("batch", f"{name}/posters/failed.txt")
    assert (again.code, again.out.startswith(f"s3://{name}/posters/")) == (0, True)
    assert len(files.ls(f"{name}/posters")) == 2
    assert not (tmp_path / name / "posters" / "failed.txt").exists()


def test_one_of_many_creates_and_another_picture_is_left_alone(s3, tmp_path):
    name, _ = s3
    store = Bucket(f"s3://{name}", tmp_path, bucket._endpoint("s3"))
    path, results = tmp_path / "a.png", []
    threads = [threading.Thread(target=lambda n=n: results.append(store._create(b"%d" % n, store.name(path))))
               for n in range(8)]  # fmt: skip
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(results) == [False] * 7 + [True]
    with pytest.raises(PixartError, match=r"a\.png exists already") as raised:
        store.publish(b"x", [path], "0" * 64)
    assert raised.value.code == "output-exists"
    store.replace(b"new", path)
    assert store.find([path], "", by_name=True) == Kept(path)
    assert store.find([tmp_path / "b.png"], "", by_name=True) is None


def test_a_bucket_that_is_not_there_is_told_before_anything_is_drawn(s3, pixart, tmp_path, stand_in):
    (tmp_path / "list.txt").write_text("sun\n")
    ran = pixart("batch", "list.txt", "-o", "s3://no-such-bucket-of-mine/")
    assert ran.code == 9
    assert "s3://no-such-bucket-of-mine" in ran.err
    assert stand_in.drawn == []


def test_a_bucket_travels_to_workers(s3, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed (pixart-cli[ray])")
    from pixart_cli.features.batch.painter import Orders, Painter
    from pixart_cli.features.batch.resolve import Resolver
    from tests.features.batch.conftest import entry, tasks_of
    from tests.features.batch.mortal import Renderers

    name, files = s3
    monkeypatch.chdir(tmp_path)
    resolver = Resolver({"res": "64x48", "output": f"s3://{name}/"}, cwd=tmp_path)
    orders = Orders(
        device="cpu", memory="auto", cache_bytes=0, together=False, force=False,
        renderers=Renderers(tmp_path),
    )  # fmt: skip
    from ray import cloudpickle

    painter = Painter(cloudpickle.loads(cloudpickle.dumps(orders)))  # as it travels
    tasks = cloudpickle.loads(cloudpickle.dumps(list(tasks_of(resolver, entry("sun"), entry("moon")))))
    assert [(reply.error, reply.by_another) for reply in painter.paint(tasks, painter.ready().life)] == [
        (None, False)
    ] * 2
    assert [reply.by_another for reply in painter.paint(tasks, painter.ready().life)] == [True] * 2
    assert len(files.ls(name)) == 2


def test_workers_on_ray_draw_into_a_bucket_what_one_process_draws_into_a_folder(one_ray, s3, tmp_path):
    from tests.features.batch.conftest import Runs, entry
    from tests.features.batch.mortal import DrawnOnRay, Keyed

    name, files = s3
    jobs = [*(entry(f"sun {n}", n) for n in range(6)), entry("mortal")]
    (tmp_path / "alone").mkdir()
    list(Runs(tmp_path / "alone").events(jobs))
    store = Bucket(f"s3://{name}", tmp_path, bucket._endpoint("s3"))
    drawn = DrawnOnRay(tmp_path, jobs, store=store, painter=Keyed)
    assert (drawn.batch.tally.drawn, drawn.failed) == (7, [])
    assert {each.rpartition("/")[2]: files.cat_file(each) for each in files.find(name)} == {
        path.name: path.read_bytes() for path in (tmp_path / "alone" / "out").glob("*.png")
    }
