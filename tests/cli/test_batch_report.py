"""What a batch tells: its pace above all."""

from collections import Counter

import pytest

from pixart_cli.cli.batch_report import Rate, Report
from pixart_cli.cli.output import Printer
from pixart_cli.core.errors import PixartError
from pixart_cli.features.batch.run import Tally


def test_the_pace_is_that_of_the_last_pictures_and_loading_is_no_part_of_it():
    now = [100.0]
    rate = Rate(lambda: now[0])
    assert (rate.per_second, rate.left(5)) == (None, None)
    rate.tick(2.0)  # the first took two seconds, whatever was loaded before
    assert rate.per_second == pytest.approx(0.5)
    for _ in range(300):
        now[0] += 0.1
        rate.tick(2.0)
    assert rate.per_second == pytest.approx(10.0)
    assert rate.left(50) == pytest.approx(5.0)
    assert rate.left(None) is None


def test_ten_pictures_at_the_same_instant_are_no_division_by_nothing():
    rate = Rate(lambda: 1.0)
    for _ in range(10):
        rate.tick(0.0)
    assert rate.per_second > 0


@pytest.mark.parametrize(("failed", "code"), [(1, 7), (0, 0)])
def test_the_end_says_how_many(capfd, failed, code):
    tally = Tally(total=4, drawn=2, existing=1, failed=failed)
    report = Report(Printer(), {"progress": "plain"}, lambda task, path: path)
    with report.shown(tally, "list.txt"):
        pass
    if code:
        with pytest.raises(PixartError, match="1 picture of 4 failed") as caught:
            report.finish("failed.txt")
        assert (caught.value.exit_code, "pixart batch failed.txt" in caught.value.hint) == (7, True)
    else:
        report.finish("failed.txt")
        assert "2 pictures drawn, 1 there already" in capfd.readouterr().err


def test_pictures_of_other_weights_are_warned_of(capfd):
    tally = Tally(total=3, existing=3, outdated=Counter({"mini": 2, "own": 1}))
    report = Report(Printer(), {"progress": "plain"}, lambda task, path: path)
    with report.shown(tally, "list.txt"):
        pass
    report.finish("failed.txt")
    told = capfd.readouterr().err
    assert "2 pictures there already were drawn with other weights of mini; --force draws them again" in told
    assert "1 picture there already was drawn with other weights of own" in told


def test_a_tally_knows_what_is_left():
    assert Tally(total=9, drawn=2, existing=3, failed=1).left == 3
    assert Tally(drawn=2).left is None
