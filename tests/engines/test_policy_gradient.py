"""Advantages, loss and KL by brute force; two runs alike; a clear error without gymnasium."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainkit.cli.main import main
from trainkit.data import Data, episodes
from trainkit.engines import policy_gradient_engines
from trainkit.engines.policy_gradient import Rollout, advantages
from trainkit.models import ActorCritic

GAMMA, LAMBDA = 0.9, 0.8


def a_rollout(steps: int = 12, count: int = 3) -> tuple[Rollout, Tensor]:
    torch.manual_seed(0)
    terminated = torch.rand(steps, count) < 0.2
    truncated = (torch.rand(steps, count) < 0.2) & ~terminated
    ended = terminated | truncated
    fresh = torch.cat((torch.zeros(1, count, dtype=torch.bool), ended[:-1]))
    # The step behind an end does nothing, and so cannot end anything.
    terminated, truncated = terminated & ~fresh, truncated & ~fresh
    rollout = Rollout(
        torch.zeros(steps + 1, count, 4),
        torch.zeros(steps, count, dtype=torch.int64),
        torch.rand(steps, count) * ~fresh,
        terminated,
        truncated,
        (~fresh).float(),
    )
    return rollout, torch.randn(steps + 1, count)


def test_advantages_are_the_sum_of_discounted_errors_within_an_episode() -> None:
    rollout, values = a_rollout()
    found = advantages(rollout, values, GAMMA, LAMBDA)
    for e in range(3):
        for t in range(12):
            if not rollout.counts[t, e]:
                assert found[t, e] == 0
                continue
            expected, weight = 0.0, 1.0
            for k in range(t, 12):
                following = 0.0 if rollout.terminated[k, e] else values[k + 1, e].item()
                delta = rollout.rewards[k, e] + GAMMA * following - values[k, e]
                expected += weight * delta.item()
                weight *= GAMMA * LAMBDA
                if rollout.terminated[k, e] or rollout.truncated[k, e]:
                    break
            assert found[t, e].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def engines(seed: int = 0, **options: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(seed)
    model = ActorCritic(4, 2, [8])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = policy_gradient_engines(
        model, optimizer, torch.device("cpu"), seed, environments=4, steps=16, **options
    )
    return model, made


def test_the_components_add_up_and_the_kl_is_that_of_the_two_policies() -> None:
    model, made = engines(value_weight=0.3, entropy_weight=0.02)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made.trainer.run(range(1))
    output = made.trainer.state.output
    assert set(output["losses"]) == {"policy", "value", "entropy"}
    assert sum(output["losses"].values()).item() == pytest.approx(output["loss"].item())
    assert not output["y_pred"].requires_grad
    p = output["y_pred"].double().softmax(1)
    entropy = -(p * p.log()).sum(1).mean().item()
    assert output["losses"]["entropy"].item() == pytest.approx(-0.02 * entropy, rel=1e-2)
    assert 0 < output["scalars"]["updates/kl"] < 1
    assert any(not torch.equal(before[n], q) for n, q in model.named_parameters())


def test_a_step_of_size_zero_has_no_kl() -> None:
    model, _ = engines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    made = policy_gradient_engines(model, optimizer, torch.device("cpu"), environments=2, steps=4)
    made.trainer.run(range(1))
    assert made.trainer.state.output["scalars"]["updates/kl"].item() == pytest.approx(0, abs=1e-7)


def test_the_same_seed_is_the_same_training_and_global_random_state_stays() -> None:
    ends = []
    for noise in (0, 1):
        model, made = engines(seed=3)
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        made.trainer.run(range(3))
        assert torch.equal(torch.get_rng_state(), state)
        ends.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*ends)


def test_evaluations_are_repeatable_and_whole_episodes() -> None:
    _, made = engines()
    results = []
    for _ in range(2):
        evaluator = made.evaluator()
        for name, metric in made.metrics.items():
            metric.attach(evaluator, name)
        evaluator.run([(5, 1)])
        results.append(dict(evaluator.state.metrics))
    assert results[0] == results[1]
    # CartPole pays 1 per step.
    assert results[0]["episode_return"] == results[0]["episode_length"] >= 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environment": "CartPoll-v1"}, "engine.environment"),
        ({"discount": 1.5}, "engine.discount must be in"),
        ({"environments": 0}, "environments"),
    ],
)
def test_what_cannot_be_played(options: dict[str, Any], message: str) -> None:
    model = ActorCritic(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=message):
        policy_gradient_engines(model, optimizer, torch.device("cpu"), **options)


def test_the_data_are_updates() -> None:
    data = episodes(updates=7, batch_size=9)
    assert isinstance(data, Data)
    assert len(data.train) == 7
    with pytest.raises(ValueError, match=r"data\.updates must be 1 or more, got 0"):
        episodes(updates=0)


def test_without_gymnasium_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    assert main(["run", "+experiment=cartpole"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'trainkit[rl]'" in line


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("mlp", "model MLP must turn observations of shape [1, 4] into logits and values"),
        ("actor_critic model.actions=3", "must give logits and values of the shapes (1, 2) and"),
    ],
)
def test_a_model_that_does_not_fit_the_environment(
    model: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "+experiment=cartpole", *f"model={model}".split(" ")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


@pytest.mark.slow
def test_monitoring_does_not_disturb(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = []
    for monitor in ("none", "full"):
        arguments = ["+experiment=cartpole", f"monitor={monitor}", f"hydra.run.dir={monitor}"]
        assert main(["run", *arguments, "trainer.max_iterations=5", "data.batch_size=2"]) == 0
        state = torch.load(f"{monitor}/checkpoints/last.pt", weights_only=True)
        weights.append(state["models"]["model"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
