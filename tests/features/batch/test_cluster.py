"""How large a fleet is, and what is said where there can be none. No Ray is started here."""

import importlib.util
import socket

import pytest

from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch import cluster
from pixart_cli.features.batch.cluster import Machines, Size, Wish, size_of
from pixart_cli.features.batch.ray_engine import RayEngine
from tests.features.batch.mortal import orders_of


def nodes(*resources, alive=True, first=0):
    return [{"NodeID": n, "Alive": alive, "Resources": each} for n, each in enumerate(resources, first)]


GPUS = nodes({"CPU": 32, "GPU": 4}, {"CPU": 64, "GPU": 8}, {"CPU": 8})


@pytest.mark.parametrize(
    ("wish", "where", "on_cpu", "expected"),
    [
        (Wish(), GPUS, False, Size(workers=12, cpus=1, gpus=1.0)),
        (Wish(gpus_per_worker=0.5), GPUS, False, Size(workers=24, cpus=1, gpus=0.5)),
        (Wish(workers=3), GPUS, False, Size(workers=3, cpus=1, gpus=1.0)),
        (Wish(gpus_per_worker=3), GPUS, False, Size(workers=3, cpus=1, gpus=3)),
        (Wish(), GPUS, True, Size(workers=3, cpus=8, gpus=0.0)),
        (Wish(workers=6), GPUS, True, Size(workers=6, cpus=4, gpus=0.0)),
        (Wish(), nodes({"CPU": 2}), False, Size(workers=1, cpus=2, gpus=0.0)),
        (Wish(workers=2), nodes({"CPU": 2}), False, Size(workers=2, cpus=1, gpus=0.0)),
        (
            Wish(),
            nodes({"CPU": 2}) + nodes({"CPU": 9}, alive=False),
            False,
            Size(workers=1, cpus=2, gpus=0.0),
        ),
    ],
)
def test_a_worker_gets_a_gpu_or_a_machine(wish, where, on_cpu, expected):
    assert size_of(wish, where, on_cpu=on_cpu) == expected


@pytest.mark.parametrize(
    ("wish", "there", "new", "workers", "expected"),
    [
        (Wish(), {"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 3}, 2, [(1, 1)] * 3),
        (Wish(gpus_per_worker=0.5), {"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}, 2, [(1, 1)] * 2),
        (Wish(), {"CPU": 8, "GPU": 2}, {"CPU": 8}, 2, []),
        (Wish(), {"CPU": 8}, {"CPU": 16}, 1, [(1, 8)]),
        (Wish(), {"CPU": 8}, {"CPU": 4}, 1, [(1, 4)]),
        (Wish(), {"CPU": 8}, {}, 1, []),
        (Wish(), {"CPU": 8}, {"CPU": 8}, 2, []),  # as many as there is room for are there
        (Wish(workers=3), {"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 4}, 3, []),  # it joins by itself
        (Wish(workers=3), {"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 4}, 2, [(1, 1)]),  # one was given up
        (Wish(workers=4, gpus_per_worker=0), {"CPU": 8}, {"CPU": 8}, 2, [(1, 2)] * 2),
    ],
)
def test_a_machine_that_joins_gets_the_workers_it_has_room_for(wish, there, new, workers, expected):
    before = nodes(there)
    machines = Machines(wish, size_of(wish, before, on_cpu=False), before)
    assert machines.joined(before, workers) == []
    both = before + nodes(new, first=1)
    assert [(place.node, place.cpus) for place in machines.joined(both, workers)] == expected
    assert machines.joined(both, 0) == []  # it is new once


def test_what_a_machine_that_left_had_is_no_room():
    before = nodes({"CPU": 8}, {"CPU": 8})
    machines = Machines(Wish(), size_of(Wish(), before, on_cpu=True), before)
    now = nodes({"CPU": 8}) + nodes({"CPU": 8}, first=1, alive=False) + nodes({"CPU": 8}, first=2)
    assert machines.joined(now, 2) == []  # Ray begins the worker of the one that left on it


@pytest.mark.parametrize("gpus", [1, 9])
def test_a_cluster_without_room_for_one_worker_says_what_is_missing(gpus):
    where = nodes({"CPU": 2}) if gpus == 1 else GPUS
    with pytest.raises(
        PixartError, match=f"needs {gpus} GPUs: the most is {0 if gpus == 1 else 8}"
    ) as raised:
        size_of(Wish(gpus_per_worker=gpus), where, on_cpu=False)
    assert raised.value.code == "cluster-too-small"


def test_without_ray_the_install_line_is_given(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(PixartError) as raised:
        cluster.check_installed()
    assert (raised.value.exit_code, "pip install 'pixart-cli[ray]'" in raised.value.hint) == (2, True)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pixart-cli[ray])")
def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(PixartError, match="refused") as raised, cluster.connected(Wish(address=address)):
        pass
    assert (raised.value.code, address in raised.value.message) == ("cluster-unreachable", True)


def test_with_nothing_to_draw_nobody_is_asked(tmp_path):
    wish = Wish(address="127.0.0.1:1")
    engine = RayEngine(wish, orders_of(tmp_path), pause=lambda: None, say=print)
    assert list(engine.run(iter([]))) == []


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:port", ":1"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(PixartError, match="--address cannot be"):
        cluster._check_reachable(address)
