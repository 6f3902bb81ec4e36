"""The plan of passes: sizes, strengths, and what may be asked for."""

import pytest

from pixart_cli.core.catalog import catalog, get_model
from pixart_cli.core.errors import PixartError
from pixart_cli.core.refine import LEAST_FACTOR, check_refine, check_refine_of, direct_size, plan_passes
from pixart_cli.core.resolution import choose_bin, named_sizes, parse_size


def passes(value, model, width, height):
    spec = get_model(model)
    return plan_passes(value, spec, choose_bin(width, height, spec.native), width, height)


@pytest.mark.parametrize("value", ["off", "auto", "direct", "1", "8", "0.05", "0.8", "4.0", "1.25"])
def test_what_may_be_asked_for(value):
    check_refine(value, "here")


@pytest.mark.parametrize("value", ["", "on", "0", "9", "12", "-1", "0.0", "4.1", "1e-1", ".5", "0.8 ", "nan"])
def test_what_may_not(value):
    with pytest.raises(PixartError, match=r"here: refine cannot be") as caught:
        check_refine(value, "here")
    assert caught.value.code == "request-invalid"
    assert "strength" in caught.value.hint


def test_sizes_double_and_the_rest_comes_last():
    found = passes("auto", "sigma-1024", 3840, 2160)
    native = choose_bin(3840, 2160, 1024)
    assert [(p.width, p.height) for p in found] == [(2 * native.width, 2 * native.height), (3840, 2160)]
    assert [p.strength for p in found] == [0.8, 0.6]
    assert [p.steps for p in found] == [7, 6]


def test_the_last_strength_holds_for_all_that_follow():
    found = passes("auto", "sigma-256", 3840, 2160)
    assert len(found) == 4
    assert [p.strength for p in found] == [0.8, 0.6, 0.6, 0.6]


def test_every_named_size_is_covered_in_whole_tokens_by_steps_of_two_at_most():
    for named in named_sizes():
        try:
            size = parse_size(named.name)
        except PixartError:
            continue
        for model in ("mini", "sigma-1024", "sigma-2k"):
            before = choose_bin(size.width, size.height, get_model(model).native)
            width, height = before.width, before.height
            for each in passes("auto", model, size.width, size.height):
                assert each.width % 16 == each.height % 16 == 0
                # cropped to the asked ratio, a side may grow a token's rounding beyond twice
                assert max(each.width / width, each.height / height) <= 2 * (1 + 16 / min(width, height))
                width, height = each.width, each.height
            if passes("auto", model, size.width, size.height):
                assert 0 <= width - size.width < 16
                assert 0 <= height - size.height < 16
            else:
                assert max(size.width / width, size.height / height) < LEAST_FACTOR


def test_fewer_passes_begin_with_a_greater_enlargement():
    (last,) = passes("1", "sigma-1024", 3840, 2160)
    assert (last.width, last.height) == (3840, 2160)
    assert passes("8", "sigma-1024", 3840, 2160) == passes("auto", "sigma-1024", 3840, 2160)
    first, second = passes("2", "mini", 3840, 2160)
    whole = passes("auto", "mini", 3840, 2160)
    assert [(p.width, p.height) for p in (first, second)] == [(p.width, p.height) for p in whole[-2:]]
    assert [p.strength for p in (first, second)] == [p.strength for p in whole[:2]]


def test_a_strength_is_that_of_the_first_pass_and_scales_the_others():
    assert [p.strength for p in passes("0.4", "sigma-1024", 3840, 2160)] == [0.4, 0.3]


@pytest.mark.parametrize("value", ["off", "direct"])
def test_no_passes_where_none_are_asked_for(value):
    assert passes(value, "sigma-1024", 3840, 2160) == ()


def test_no_passes_for_what_the_base_nearly_covers():
    assert passes("auto", "sigma-1024", 1024, 1024) == ()
    assert passes("auto", "sigma-1024", 1200, 1200) == ()
    assert len(passes("auto", "sigma-1024", 1536, 1536)) == 1


def test_models_that_cannot_refine_say_so():
    spec = get_model("dmd")
    assert spec.refine is None
    assert passes("auto", "dmd", 3840, 2160) == ()
    with pytest.raises(PixartError, match="dmd cannot be drawn with refine 2"):
        check_refine_of("2", spec)
    check_refine_of("auto", spec)


def test_the_catalogue_is_within_its_own_bounds():
    for spec in catalog().values():
        if spec.refine is not None:
            assert all(0.05 <= strength <= 4 for strength in spec.refine.strengths)
            assert all(steps >= 1 for steps in spec.refine.steps)


def test_direct_is_the_least_size_in_whole_tokens():
    assert direct_size(3840, 2160) == (3840, 2160)
    assert direct_size(1081, 17) == (1088, 32)
