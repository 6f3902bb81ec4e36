"""Signals as exceptions; tests/cli/test_app.py sends them to a whole `pixart`."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pixart_cli.cli.signals import Terminated, leave_quietly, watched
from tests.processes import PATIENCE


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (signal.SIGHUP, Terminated)],
)
def test_a_signal_is_raised_where_the_program_stands(number, raised):
    before = signal.getsignal(number)
    with pytest.raises(raised), watched():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_that_a_library_turned_into_an_error_is_remembered():
    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Terminated:
            raise ImportError("initialization failed") from None

    with watched() as watch:
        assert watch.ended_by is None
        with pytest.raises(ImportError):
            library()
    assert isinstance(watch.ended_by, Terminated)


def test_what_was_ignored_stays_ignored():
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with watched():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_outside_the_main_thread_nothing_is_touched():
    seen = []

    def inside() -> None:
        with watched():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_the_second_ends_a_computation_that_python_cannot_interrupt():
    code = (
        "import os, re, signal, threading, time\n"
        "from pixart_cli.cli.signals import watched\n"
        "def again():\n"
        "    while True: time.sleep(0.3); os.kill(os.getpid(), signal.SIGTERM)\n"
        "with watched():\n"
        "    threading.Thread(target=again, daemon=True).start()\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except BaseException: pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False).returncode == 143


def test_leaving_gives_ctrl_c_back_to_the_system():
    code = (
        "import os; from pixart_cli.cli.signals import leave_quietly\n"
        "leave_quietly(); os.kill(os.getpid(), 2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_quietly()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, kept)


def test_who_has_something_to_finish_is_asked_at_its_leisure(capfd):
    done = []

    def work(watch) -> None:
        with watch.deferred("wait\n"):
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the step")
            watch.check()
            done.append("too much")

    with watched() as watch, pytest.raises(KeyboardInterrupt):
        work(watch)
    assert done == ["the step"]
    assert capfd.readouterr().err == "wait\n"


def test_a_signal_is_not_forgotten_where_nobody_asked():
    with pytest.raises(Terminated), watched() as watch, watch.deferred():
        os.kill(os.getpid(), signal.SIGTERM)


def test_within_a_wait_the_signal_is_raised_at_once():
    done = []

    def work(watch) -> None:
        with watch.deferred(), watch.at_once():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("too much")

    with watched() as watch, pytest.raises(KeyboardInterrupt):
        work(watch)
    assert done == []
