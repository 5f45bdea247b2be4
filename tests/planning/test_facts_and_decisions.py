"""What the data decides: spacings as nnU-Net's paper has them, sizes that can be halved, levels of the default network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit import plugins
from segkit.config.resolve import gather, resolve_config
from segkit.planning.budget import SHRINKS, choose_shrink, plain_epochs, views_within
from segkit.planning.decisions import decide, round_side
from segkit.planning.facts import DataFacts, coarse_axis
from segkit.sides import axes_exchanged
from segkit.task import Task
from segkit_unets.plugin import SMALLEST, levels_of


def facts(spacings: list[tuple[float, ...] | None], sizes: list[tuple[int, ...]] | None = None) -> DataFacts:
    found = sizes or [(10, 20, 30)] * len(spacings)
    number = len(found)
    reaches = ((1.0,) * len(found[0]),) * number
    return DataFacts(number, tuple(found), tuple(spacings), ((0.1,),) * number, reaches, ("one",) * number, 0, 0)


def test_the_common_spacing_is_the_median_and_on_a_coarse_axis_the_10th_percentile() -> None:
    """By hand: of 5, 6, 7, 8, 9 and 10 mm the 10th percentile is 5.5 (NumPy's linear one)."""
    alike = facts([(1.0, 1.0, 1.2), (1.0, 1.0, 1.0), (2.0, 1.0, 1.0)])
    assert alike.common_spacing == (1.0, 1.0, 1.0) and alike.spacings_differ
    coarse = facts([(1.0, 1.0, mm) for mm in (5.0, 6.0, 7.0, 8.0, 9.0, 10.0)])
    assert coarse.common_spacing == pytest.approx((1.0, 1.0, 5.5))
    assert facts([(1.0, 1.0, 1.0), None]).common_spacing is None


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1.5, 1.5, 10.0), 2), ((3.0, 1.0, 1.0), 0), ((2.9, 1.0, 1.0), None), ((0.5, 0.7), None)]
)
def test_an_axis_is_coarse_from_three_times_the_next_spacing_on(spacing: tuple[float, ...], axis: int | None) -> None:
    assert coarse_axis(spacing) == axis


def test_sizes_are_those_after_resampling() -> None:
    found = facts([(1.0, 1.0, 10.0), (2.0, 1.0, 5.0)], [(100, 80, 9), (40, 80, 20)])
    assert found.sizes_at((2.0, 1.0, 5.0)) == [(50, 80, 18), (40, 80, 20)]
    assert found.sizes_at(None) == [(100, 80, 9), (40, 80, 20)]


def test_classes_that_no_training_case_holds_are_found() -> None:
    task = Task(1, ("background", "liver", "tumour"), 3, "multiclass")
    found = DataFacts(2, ((9, 9, 9),) * 2, (None, None), ((0.2, 0.0), (0.1, 0.0)), ((1.0,) * 3,) * 2, ("a", "b"), 0, 0)
    assert found.missing(task) == ["tumour"]


@given(st.floats(1, 2000), st.booleans())
def test_a_rounded_side_can_be_halved_down_to_a_few_pixels(side: float, up: bool) -> None:
    found = round_side(side, up)
    halvings = 0
    while found % 2 == 0 and found // 2 >= SMALLEST and halvings < 5:
        found, halvings = found // 2, halvings + 1
    assert found < 8 * SMALLEST or halvings == 5
    assert not up or round_side(side, up) >= side


@pytest.mark.parametrize(
    ("size", "spacing", "depth", "flat"),
    [
        ((128, 128), (1.0, 1.0), (5, 5), (0, 0)),
        ((96, 128), (1.0, 1.0), (4, 5), (0, 0)),
        ((40, 56, 40), (1.0, 1.0, 1.0), (3, 3, 3), (0, 0, 0)),
        ((160, 160, 16), (1.5, 1.5, 10.0), (5, 5, 2), (0, 0, 2)),  # 1.5, 3, 6: from there on 10 mm is less than twice
        ((4, 4), (1.0, 1.0), (0, 0), (0, 0)),
    ],
)
def test_levels_halve_each_axis_when_its_spacing_is_reached(
    size: tuple[int, ...], spacing: tuple[float, ...], depth: tuple[int, ...], flat: tuple[int, ...]
) -> None:
    assert levels_of(size, spacing) == (depth, flat)


@given(st.lists(st.integers(1, 300), min_size=2, max_size=3), st.floats(0.3, 12))
def test_no_level_is_smaller_than_its_least_size(size: list[int], coarse: float) -> None:
    depth, flat = levels_of(tuple(size), (*(1.0,) * (len(size) - 1), coarse))
    for side, halved, above in zip(size, depth, flat, strict=True):
        assert not halved or side / 2**halved > SMALLEST - 1
        assert halved + above <= 6


@pytest.mark.parametrize(
    ("classes", "dims", "seen", "expected"),
    [
        (("left lung", "right lung"), 3, 3, {0}),
        (("anterior", "posterior"), 3, 3, {1}),
        (("upper lobe", "lower lobe"), 3, 3, {2}),
        (("left lung", "right lung"), 2, 2, {1}),
        (("anterior", "posterior"), 3, 2, {0, 1}),  # slices along any axis
        (("liver", "spleen"), 3, 3, set()),
    ],
)
def test_flips_are_left_out_along_the_axes_that_tell_classes_apart(
    classes: tuple[str, str], dims: int, seen: int, expected: set[int]
) -> None:
    assert set(axes_exchanged(Task(1, ("background", *classes), dims, "multiclass"), seen)) == expected


@pytest.mark.parametrize(
    ("reach", "cases", "shrink", "frame", "size"),
    [
        ((0.4, 0.5), 12, 0.5, (0.48, 0.6), (48, 64)),  # of 200 x 200 the middle 96 x 120, half as large
        ((0.4, 0.5), 12, 1.0, None, (192, 192)),  # there is time for all of it
        ((0.4, 0.5), 9, 0.5, None, (96, 96)),  # too few patients to tell
        ((0.7, 0.8), 12, 0.5, None, (96, 96)),  # hardly less than the image
        ((0.0, 0.0), 12, 0.5, None, (96, 96)),  # nothing anywhere
    ],
)
def test_a_short_training_sees_the_middle_where_all_masks_lie(
    reach: tuple[float, ...], cases: int, shrink: float, frame: tuple[float, ...] | None, size: tuple[int, ...]
) -> None:
    requested = resolve_config(gather({}, {"dataset": "phantom", "model": "unet"}, []), plugins.load())
    groups = tuple(map(str, range(cases)))
    own = DataFacts(cases, ((200, 200),) * cases, (None,) * cases, ((0.1,),) * cases, (reach,) * cases, groups, 0, 0)
    found = {one.key: one.value for one in decide(requested, own, 2, shrink)[1]}
    assert found.get("preprocess.frame") == frame
    assert found["preprocess.size"] == size


def test_images_grow_with_the_time_until_enough_of_them_are_seen() -> None:
    """A whole image costs 1 s, one of half its sides 0.25 s; 1,000 are to be seen in 85 % of the time."""

    def chosen(seconds: float) -> float:
        return choose_shrink({shrink: views_within(seconds, shrink**2) for shrink in SHRINKS}, 1_000)

    assert [chosen(seconds) for seconds in (1_200, 1_100, 300, 1)] == [1.0, 0.85, 0.5, SHRINKS[-1]]


def test_without_a_time_small_and_large_data_are_trained_on_for_a_sensible_number_of_steps() -> None:
    assert [plain_epochs(steps) for steps in (1, 18, 1_000, 100_000)] == [1_000, 100, 25, 1]
