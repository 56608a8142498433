"""The points of values that hold until they change."""

import torch

from trainkit.handlers.curves.staircase import Staircase, Staircases


def test_a_plateau_has_two_points_and_a_ramp_its_ends() -> None:
    stairs, points = Staircase(shown=True), []
    for i, value in enumerate([1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.4, float("nan"), float("nan")], 1):
        before = stairs.since
        points += stairs.see(value, i, i - 1)
        if stairs.since == before:
            points += stairs.hold()
    points += stairs.end(9)
    assert [step for step, _ in points] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert [value for _, value in points][:6] == [1.0, 1.0, 0.8, 0.6, 0.4, 0.4]
    assert list(stairs.end(9)) == []


def test_a_constant_is_shown_from_its_first_change_on() -> None:
    stairs = Staircases()
    assert not stairs.see({"h/momentum": 0.9, "h/lr": 0.1}, 1, 0).get(1, {}).get("h/momentum")
    stairs.last = 5
    assert stairs.see({"h/momentum": 0.5}, 6, 5) == {
        1: {"h/momentum": 0.9}, 5: {"h/momentum": 0.9}, 6: {"h/momentum": 0.5},
    }  # fmt: skip
    assert stairs.end() == {6: {"h/lr": 0.1}}


def test_a_tensor_is_followed_by_its_changes_and_not_compared() -> None:
    rate = torch.tensor([0.5])
    stairs = Staircase(shown=True)
    assert list(stairs.see(rate, 1, 0)) == [(1, torch.tensor(0.5))]
    assert list(stairs.see(rate, 2, 1)) == []
    rate.mul_(0.5)
    assert list(stairs.see(rate, 3, 2)) == [(2, 0.5), (3, 0.25)]
    rate.data.mul_(0.5)  # which torch does not count
    assert list(stairs.end(4)) == [(4, 0.125)]
