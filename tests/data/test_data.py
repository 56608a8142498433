"""Batches, splits and data sets, against their definitions."""

import multiprocessing
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from trainkit.data import (
    ALPHABET,
    Batches,
    Data,
    Standardization,
    breast_cancer,
    diabetes,
    digits,
    encode,
    python_reference,
    split,
)

SETS: list[Callable[..., Data]] = [digits, breast_cancer, diabetes, python_reference]


def whole(batches: Any) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


# --- Batches ---------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_a_pass_holds_every_sample_once(
    samples: int, batch_size: int, drop_last: bool, shuffle: bool, seed: int
) -> None:
    x = torch.arange(samples)
    if drop_last and samples < batch_size:
        with pytest.raises(ValueError, match="drop_last leaves no batch"):
            Batches(x, batch_size=batch_size, drop_last=True)
        return
    batches = Batches(
        x, -2 * x, batch_size=batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last
    )
    found = list(batches)
    sizes = [len(a) for a, _ in found]
    full, rest = divmod(samples, batch_size)
    assert sizes == [batch_size] * full + [rest] * bool(rest and not drop_last)
    assert len(batches) == len(found)
    values, doubled = whole(found)
    assert torch.equal(doubled, -2 * values)
    assert len(set(values.tolist())) == len(values)
    if not shuffle:
        assert torch.equal(values, x[: len(values)])


def test_in_order_it_is_what_a_data_loader_gives() -> None:
    x, y = torch.randn(23, 3, 2), torch.arange(23)
    expected = DataLoader(TensorDataset(x, y), batch_size=5)
    for ours, theirs in zip(Batches(x, y, batch_size=5), expected, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    x = torch.arange(100)

    def passes(seed: int) -> list[list[int]]:
        batches = Batches(x, batch_size=7, shuffle=True, seed=seed)
        return [whole(batches)[0].tolist() for _ in range(3)]

    first = passes(0)
    torch.randn(5)
    assert passes(0) == first
    orders = [tuple(order) for seed in range(3) for order in passes(seed)]
    assert len(set(orders)) == 9

    batches = Batches(x, batch_size=7, shuffle=True)
    batches.set_epoch(2)
    assert whole(batches)[0].tolist() == first[2]
    batches.set_epoch(1)
    assert whole(batches)[0].tolist() == first[1]
    assert whole(batches)[0].tolist() == first[2]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pass_goes_on_where_it_was_left(shuffle: bool) -> None:
    x = torch.arange(50)
    batches = Batches(x, batch_size=8, shuffle=shuffle)
    batches.set_epoch(3)
    complete = [b.tolist() for (b,) in batches]
    following = [b.tolist() for (b,) in batches]
    batches.set_epoch(3, skip=2)
    assert [b.tolist() for (b,) in batches] == complete[2:]
    assert [b.tolist() for (b,) in batches] == following
    batches.set_epoch(3, skip=7)
    assert list(batches) == []
    with pytest.raises(ValueError, match="from 0 to 7, got 8"):
        batches.set_epoch(0, skip=8)
    with pytest.raises(ValueError, match="epoch must be 0 or more, got -1"):
        batches.set_epoch(-1)


def test_a_pass_does_not_count_on_what_happens_meanwhile() -> None:
    batches = Batches(torch.arange(30), batch_size=4, shuffle=True)
    expected = [b.tolist() for (b,) in batches]
    batches.set_epoch(0)
    running = iter(batches)
    found = [next(running)[0].tolist()]
    whole(batches.in_order())
    batches.set_epoch(9)
    found += [b.tolist() for (b,) in running]
    assert found == expected


def test_in_order_leaves_nothing_out() -> None:
    x = torch.arange(10)
    batches = Batches(x, batch_size=4, shuffle=True, drop_last=True)
    assert torch.equal(whole(batches.in_order())[0], x)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    for load in SETS:
        data = load()
        next(iter(data.train))
    assert torch.equal(torch.get_rng_state(), before)


def test_shuffled_batches_are_copies() -> None:
    x = torch.arange(6)
    for (batch,) in Batches(x, batch_size=2, shuffle=True):
        batch.zero_()
    assert torch.equal(x, torch.arange(6))


def test_overlapping_views_are_read_as_what_they_show() -> None:
    text = torch.arange(20)
    view = text.unfold(0, 4, 1)
    (rows,) = whole(Batches(view, batch_size=3, shuffle=True))
    assert sorted(rows.tolist()) == view.tolist()


def test_the_tensors_are_moved_once() -> None:
    batches = Batches(torch.arange(4), batch_size=2, device="meta")
    assert [b.device.type for (b,) in batches] == ["meta", "meta"]


@pytest.mark.parametrize(
    ("tensors", "options", "error", "message"),
    [
        ((), {}, ValueError, "at least one tensor"),
        ((torch.ones(0, 3),), {}, ValueError, "the data set is empty"),
        ((torch.ones(2), torch.ones(3)), {}, ValueError, r"equally many samples, got \[2, 3\]"),
        ((torch.ones(()),), {}, ValueError, "first dimension"),
        (([1, 2],), {}, TypeError, "got list"),
        (
            (torch.ones(2), torch.ones(2, device="meta")),
            {},
            ValueError,
            "on one device, got cpu, meta",
        ),
        ((torch.ones(2),), {"batch_size": 0}, ValueError, "batch_size must be 1 or more, got 0"),
        ((torch.ones(2),), {"batch_size": 2.0}, TypeError, "must be an integer, got 2.0"),
        ((torch.ones(2),), {"batch_size": True}, TypeError, "must be an integer, got True"),
        ((torch.ones(2),), {"seed": -1}, ValueError, "seed must be 0 or more, got -1"),
    ],
)
def test_what_cannot_be_batched_is_refused(
    tensors: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Batches(*tensors, **{"batch_size": 2, **options})


CASES = [(True, False), (True, True), (False, False)]  # shuffle, drop_last


def _passes_of_a_process(rank: int, meeting_point: str) -> Any:
    idist.initialize("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    found = {}
    for shuffle, drop_last in CASES:
        batches = Batches(
            torch.arange(11), batch_size=3, shuffle=shuffle, drop_last=drop_last, seed=5
        )
        found[shuffle, drop_last] = ([b.tolist() for (b,) in batches], len(batches))
    try:
        next(iter(Batches(torch.arange(1), batch_size=1)))
    except ValueError as error:
        refused = str(error)
    idist.finalize()
    return found, refused


@pytest.mark.slow
def test_several_processes_share_the_samples(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        meeting_point = str(tmp_path / "meeting")
        results = pool.starmap(
            _passes_of_a_process, [(rank, meeting_point) for rank in range(2)], chunksize=1
        )
    assert all("1 samples are too few for 2 processes" in refused for _, refused in results)
    for case in CASES:
        passes = [found[case][0] for found, _ in results]
        assert [found[case][1] for found, _ in results] == [len(found) for found in passes]
        rows = [[i for batch in found for i in batch] for found in passes]
        counted = Counter(rows[0] + rows[1])
        if case == (False, False):
            assert rows[0] + rows[1] == list(range(11))
        elif case == (True, True):
            assert len(rows[0]) == len(rows[1]) == 3  # one full batch each, out of five rows
            assert max(counted.values()) == 1
        else:
            assert len(rows[0]) == len(rows[1]) == 6
            assert set(counted) == set(range(11))
        if case[0]:  # batch i of all processes is batch i of one
            alone = Batches(torch.arange(11), batch_size=6, shuffle=True, drop_last=case[1], seed=5)
            for whole, *shares in zip(alone, *passes, strict=True):
                together = [i for share in shares for i in share]
                assert together[: len(whole[0])] == whole[0].tolist()


# --- Data ------------------------------------------------------------------------------------


def test_a_part_must_be_batches() -> None:
    with pytest.raises(TypeError, match=r"data.train must be batches that can be iterated .*int"):
        Data(train=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"data.test must be batches .* more than once.*generator"):
        Data(train=[1], test=(batch for batch in [1]))
    with pytest.raises(TypeError, match=r"data.train .*NoneType"):
        Data(train=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data.test must hold at least one batch"):
        Data(train=[1], test=[])


# --- Splits ----------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(
    samples=st.integers(20, 200),
    validation=st.floats(0.1, 0.4),
    test=st.floats(0.1, 0.4),
    seed=st.integers(0, 1000),
    classes=st.integers(1, 3),
)
def test_a_split_is_disjoint_complete_and_keeps_the_classes(
    samples: int, validation: float, test: float, seed: int, classes: int
) -> None:
    labels = torch.arange(samples) % classes
    parts = split(samples, validation, test, seed, labels)
    assert torch.cat(parts).sort().values.tolist() == list(range(samples))
    again = split(samples, validation, test, seed, labels)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
    for part, share in zip(parts, (1 - validation - test, validation, test), strict=True):
        for label in range(classes):
            members = int((labels == label).sum())
            chosen = int((labels[part] == label).sum())
            assert abs(chosen - share * members) <= 1


def test_another_seed_is_another_split() -> None:
    assert not torch.equal(split(100, 0.2, 0.2, seed=0)[0], split(100, 0.2, 0.2, seed=1)[0])


@pytest.mark.parametrize(("validation", "test"), [(0.2, -1), (1, 0), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_are_none_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ValueError, match="shares, from 0 on, that leave some for training"):
        split(10, validation, test, 0)
    for load in SETS:
        with pytest.raises(ValueError, match="shares, from 0 on"):
            load(validation=validation, test=test)


@pytest.mark.parametrize("load", SETS)
def test_a_share_of_zero_leaves_that_part_out(load: Callable[..., Data]) -> None:
    data = load(validation=0, test=0.2)
    assert data.validation is None
    assert data.test is not None
    assert load(validation=0.2, test=0).test is None


def test_a_part_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leaves a part empty: 3 samples .* give 3, 0 and 0"):
        split(3, 0.1, 0.1, 0)


def test_standardization_is_fitted_on_what_it_is_given() -> None:
    x = torch.randn(50, 3, dtype=torch.float64) * torch.tensor([1.0, 1e-3, 1e4]) + 7
    x[:, 1] = 5  # does not vary
    scaled = Standardization(x)(x)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3, dtype=torch.float64))
    expected = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(scaled.std(0, correction=0), expected)


# --- Data sets -------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [breast_cancer, diabetes])
def test_only_the_training_part_is_looked_at_to_scale(load: Callable[..., Data]) -> None:
    data = load()
    x = whole(data.train)[0].double()
    torch.testing.assert_close(x.mean(0), torch.zeros_like(x[0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones_like(x[0]), atol=1e-6, rtol=0)
    for part in (data.validation, data.test):
        # Fitted on these too, or on each for itself, these would be 0.
        assert whole(part)[0].mean(0).abs().max() > 0.02


@pytest.mark.parametrize("load", [breast_cancer, diabetes])
def test_held_out_samples_do_not_move_the_training_samples(
    load: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn.datasets

    name = f"load_{load.__name__}"
    original = getattr(sklearn.datasets, name)
    x, y = original(return_X_y=True, **({"scaled": False} if load is diabetes else {}))
    labels = torch.tensor(y) if load is breast_cancer else None
    held_out = torch.cat(split(len(x), 0.2, 0.2, 0, labels)[1:]).numpy()
    changed = x.copy()
    changed[held_out] *= 1000
    before = whole(load().train.in_order())  # type: ignore[attr-defined]
    monkeypatch.setattr(sklearn.datasets, name, lambda **_: (changed, y))
    after = whole(load().train.in_order())  # type: ignore[attr-defined]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_diabetes_targets_are_scaled_by_the_training_part_or_as_measured() -> None:
    data = diabetes()
    y = whole(data.train)[1].double()
    assert abs(float(y.mean())) < 1e-6
    assert abs(float(y.std(correction=0)) - 1) < 1e-6
    assert abs(float(whole(data.test)[1].mean())) > 0.01
    raw = diabetes(standardize_targets=False)
    y = torch.cat([whole(part)[1] for part in (raw.train, raw.validation, raw.test)])
    assert (float(y.min()), float(y.max())) == (25, 346)


@pytest.mark.parametrize(
    ("load", "samples", "x", "y", "classes"),
    [
        (digits, 1797, (1, 8, 8), (), 10),
        (breast_cancer, 569, (30,), (1,), 2),
        (diabetes, 442, (10,), (1,), 0),
        (python_reference, None, (64,), (64,), 97),
    ],
)
def test_shapes_and_sizes(
    load: Callable[..., Data],
    samples: int | None,
    x: tuple[int, ...],
    y: tuple[int, ...],
    classes: int,
) -> None:
    data = load()
    parts = [whole(part) for part in (data.train, data.validation, data.test)]
    if samples is not None:
        assert sum(len(part[0]) for part in parts) == samples
        rows = torch.cat([part[0] for part in parts]).flatten(1).tolist()
        assert len(set(map(tuple, rows))) == len(rows)  # no sample is in two parts
    for xs, ys in parts:
        assert xs.shape[1:] == x
        assert ys.shape[1:] == y
    assert len(data.classes) == classes


def test_signed_digits_are_the_same_digits() -> None:
    plain, signed = digits(), digits(signed=True)
    for part in ("train", "validation", "test"):
        (x, y), (signed_x, signed_y) = (getattr(d, part).tensors for d in (plain, signed))
        assert torch.equal(y, signed_y)
        assert torch.equal(signed_x, 2 * x - 1)
        assert (float(signed_x.min()), float(signed_x.max())) == (-1, 1)


def test_digits_are_scaled_and_balanced() -> None:
    data = digits()
    for part in (data.train, data.validation, data.test):
        x, y = whole(part)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert float(x.min()) == 0
        assert float(x.max()) == 1
        shares = y.bincount(minlength=10) / len(y)
        assert float(shares.min()) > 0.09
        assert float(shares.max()) < 0.11


def test_the_seed_of_the_order_does_not_change_the_split() -> None:
    first, second = digits(seed=0), digits(seed=1)
    assert torch.equal(whole(first.test)[0], whole(second.test)[0])
    assert not torch.equal(next(iter(first.train))[1], next(iter(second.train))[1])
    other = digits(split_seed=1)
    assert not torch.equal(whole(first.test)[0], whole(other.test)[0])


# --- Text ------------------------------------------------------------------------------------


def decode(characters: Tensor) -> str:
    return "".join(ALPHABET[i] for i in characters.tolist())


def test_the_alphabet_round_trips() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 97
    assert decode(encode(ALPHABET)) == ALPHABET
    assert decode(encode("naïve\t")) == "na\ufffdve\ufffd"


def test_the_target_is_the_text_one_character_later() -> None:
    data = python_reference(length=20, stride=5)
    x, y = next(iter(data.train))
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert data.classes == tuple(ALPHABET)
    validation = whole(data.validation)
    assert torch.equal(validation[0][1:, 0], validation[1][:-1, -1])  # windows follow each other


def test_held_out_text_is_not_also_training_text() -> None:
    from pydoc_data.topics import topics

    data = python_reference(length=60, stride=1)
    train = whole(data.train.in_order())[0]  # type: ignore[attr-defined]
    text = decode(torch.cat([train[0], train[1:, -1]]))
    raw = "\n\n".join(text.strip("\n") for text in topics.values())
    assert 0.6 * len(raw) < len(text) < 0.9 * len(raw)
    for part in (data.validation, data.test):
        windows = [decode(window) for window in whole(part)[0]]
        assert sum(window in text for window in windows) <= 0.02 * len(windows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "data.length must be 1 character or more, got 0"),
        ({"stride": 0}, "data.stride must be 1 character or more, got 0"),
        ({"length": 100_000}, "data.length=100000 is longer than one of the parts"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        python_reference(**options)
