"""The search for garbage: seldom, not among what the libraries made, and thorough where it counts."""

import subprocess
import sys

CODE = """
import gc, sys, weakref
from pixart_cli.core import garbage
class Network: pass
def loop():
    network = Network()
    network.itself = network
    return weakref.ref(network)
{body}
"""


def ran(body: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(body=body)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_libraries_are_set_apart_once_and_networks_never() -> None:
    body = """
before = gc.get_freeze_count()
garbage.set_libraries_apart()
apart = gc.get_freeze_count()
network = loop()
garbage.set_libraries_apart()
gc.collect()
print(before, apart > 1000, gc.get_freeze_count() <= apart, network())
"""
    assert ran(body) == ["0", "True", "True", "None"]


def test_the_door_searches_seldom_and_leaves_the_rest_to_the_system() -> None:
    body = """
import atexit, pixart_cli.__main__ as door
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 1000, gc.isenabled()))
sys.argv[1:] = ["--version"]
door.main()
"""
    assert ran(body)[-3:] == ["50000", "True", "True"]
