"""Environments that go on from a saved state, and those that cannot."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from trainkit.engines.environment_state import (
    environment_state,
    keeps_its_state,
    set_environment_state,
)


def make(name: str, mode: str, count: int = 3) -> Any:
    return gymnasium.make_vec(name, num_envs=count, vectorization_mode=mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("CartPole-v1", "vector_entry_point"), ("CartPole-v1", "sync"), ("Acrobot-v1", "sync"),
     ("MountainCar-v0", "sync")],
)  # fmt: skip
def test_it_goes_on_exactly(name: str, mode: str) -> None:
    assert keeps_its_state(lambda: make(name, mode, 2))
    one, other = make(name, mode), make(name, mode)
    one.reset(seed=0)
    other.reset(seed=5)
    one.action_space.seed(0)
    for _ in range(30):
        one.step(one.action_space.sample())
    set_environment_state(other, environment_state(one))
    for _ in range(300):  # through the ends of several episodes
        action = one.action_space.sample()
        for a, b in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            assert np.array_equal(a, b)


class Hidden:
    """Its state is in no attribute of an environment."""

    def __init__(self) -> None:
        self.clock = [0.0]

    def tick(self) -> float:
        self.clock[0] += 1
        return self.clock[0]


class Elsewhere(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Box(0, 1e9, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.simulator = Hidden()

    def reset(self, **_: Any) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.array([self.simulator.tick()], np.float32), 0.0, False, False, {}


def test_what_cannot_be_saved_is_found_out() -> None:
    def both() -> Any:
        vector = gymnasium.vector.SyncVectorEnv([Elsewhere, Elsewhere])
        if not seen:
            seen.append(vector)
            for each in vector.envs:
                each.simulator.clock[0] = 7.0
        return vector

    seen: list[Any] = []
    assert not keeps_its_state(both)
