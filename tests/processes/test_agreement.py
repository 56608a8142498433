"""All processes do it behind the same iteration, whenever whoever asks: tried with threads."""

import random
import threading
import time

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from trainkit.processes.agreement import Agreement
from trainkit.processes.channel import Channel


def stopped_at(world: int, seed: int, *, every: int = 1, asks: bool = True) -> list[list[int]]:
    """Where each of several lock-step loops did it, up to iteration 60."""
    draw = random.Random(seed)
    store, meet = HashStore(), threading.Barrier(world)
    agreements = [Agreement(Channel(store, rank, world), "stop") for rank in range(world)]
    asker, when = draw.randrange(world), draw.randrange(0, 50)
    done: list[list[int]] = [[] for _ in range(world)]
    over = threading.Event()

    def watch(rank: int, pause: float) -> None:
        while not over.is_set():
            agreements[rank].look()
            time.sleep(pause)

    def train(rank: int, pause: float) -> None:
        agreement = agreements[rank]
        agreement.passed(0)
        for iteration in range(1, 61):
            meet.wait(20)  # the exchange of gradients: nobody passes it alone
            time.sleep(pause)
            if asks and rank == asker and iteration == when:
                agreement.ask("signal")
            if agreement.passed(iteration, possible=iteration % every == 0):
                done[rank].append(iteration)
                return

    threads = [
        threading.Thread(target=watch, args=(r, draw.uniform(0.001, 0.02)), daemon=True)
        for r in range(world)
    ]
    loops = [threading.Thread(target=train, args=(r, draw.uniform(0, 0.004))) for r in range(world)]
    for thread in (*threads, *loops):
        thread.start()
    for loop in loops:
        loop.join(30)
        assert not loop.is_alive(), "a process waits for ever"
    over.set()
    return done


@pytest.mark.parametrize("seed", range(12))
def test_all_stop_at_the_same_iteration(seed: int) -> None:
    done = stopped_at(3, seed)
    assert len({tuple(each) for each in done}) == 1, done


@pytest.mark.parametrize("seed", range(4))
def test_only_where_it_is_possible(seed: int) -> None:
    done = stopped_at(2, seed, every=7)
    assert len({tuple(each) for each in done}) == 1, done
    assert all(each % 7 == 0 for each in done[0])


def test_nobody_asks() -> None:
    assert stopped_at(2, 0, asks=False) == [[], []]


def test_again_and_again() -> None:
    store = HashStore()
    agreements = [Agreement(Channel(store, rank, 2), "save") for rank in range(2)]
    for agreement in agreements:
        agreement.passed(0)
    found = []
    for iteration in range(1, 10):
        if iteration in (2, 6):
            agreements[iteration % 2].ask("time")
        for agreement in [*agreements, *agreements]:
            agreement.look()
        passed = [agreement.passed(iteration) for agreement in agreements]
        assert passed[0] == passed[1]
        if passed[0]:
            found.append(iteration)
            for agreement in agreements:
                agreement.renew(iteration)
    assert found == [2, 6]


def test_two_things_asked_for_at_once_do_not_wait_for_each_other() -> None:
    """One process looks first for the one, the other for the other: neither look may block."""
    store = HashStore()
    channels = [Channel(store, rank, 2) for rank in range(2)]
    stops, saves = ([Agreement(each, name) for each in channels] for name in ("stop", "save"))
    for agreement in (*stops, *saves):
        agreement.passed(0)
    stops[1].ask("signal")
    saves[0].ask("time")
    for _ in range(2):
        for look in (saves[0].look, stops[1].look, stops[0].look, saves[1].look):
            look()
    assert [each.passed(1) for each in (*stops, *saves)] == ["signal"] * 2 + ["time"] * 2


def test_nobody_waits_for_one_that_is_gone() -> None:
    channel = Channel(HashStore(), 0, 2)
    agreement = Agreement(channel, "stop")
    agreement.passed(0)
    agreement.ask("signal")
    agreement.look()  # the other one never answers
    waiting = threading.Thread(target=agreement.passed, args=(1,))
    waiting.start()
    agreement.close()
    waiting.join(5)
    assert not waiting.is_alive()
