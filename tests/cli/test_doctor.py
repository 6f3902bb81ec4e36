"""`pixart doctor`: every finding with its remedy, and an exit code for what is broken."""

import pytest


@pytest.fixture
def findings(pixart):
    """What the doctor says of this machine, as data."""
    return pixart("doctor", "--json").json


def test_findings_and_their_remedies_are_printed(pixart, findings):
    ran = pixart("doctor")
    for finding in findings["findings"]:
        assert finding["subject"] in ran.out
        assert finding["remedy"] in ran.out
        assert finding["state"] == "ok" or finding["remedy"]


def test_the_exit_code_says_whether_anything_is_broken(pixart, findings):
    broken = [finding for finding in findings["findings"] if finding["state"] == "broken"]
    assert pixart("doctor").code == (4 if broken else 0)
    assert findings["ok"] is not bool(broken)
    assert findings["schema"] == "pixart.doctor/1"


def test_a_broken_configuration_is_found_and_does_not_stop_the_rest(pixart, tmp_path):
    (tmp_path / "pixart.toml").write_text("stepps = 3\n")
    ran = pixart("doctor")
    assert ran.code == 4
    assert "pixart.toml" in ran.out
    assert "steps" in ran.out
    assert "plan" in ran.out
