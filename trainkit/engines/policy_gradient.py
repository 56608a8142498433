"""Policy gradient with a value baseline and an entropy bonus."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Average
from torch import Tensor, nn
from torch.nn.functional import log_softmax, mse_loss
from torch.optim import Optimizer

from trainkit.engines.engines import Engines
from trainkit.engines.environment_state import (
    environment_state,
    keeps_its_state,
    set_environment_state,
)
from trainkit.engines.output import step_output

__all__ = ["Rollout", "advantages", "policy_gradient_engines"]

_log = logging.getLogger("trainkit.engines")


@dataclass(frozen=True)
class Rollout:
    """T steps in each of E environments.

    Args:
        observations: `[T + 1, E, observations]`; the last ones follow the last actions.
        actions: `[T, E]`.
        rewards: `[T, E]`.
        terminated: The episode ended here: what follows is worth nothing, `[T, E]`.
        truncated: The episode was cut off here: what follows would be worth something, `[T, E]`.
        counts: 0 where a step only began a new episode and the action did nothing, `[T, E]`.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    counts: Tensor


def advantages(rollout: Rollout, values: Tensor, discount: float, smoothing: float) -> Tensor:
    """Generalized advantage estimates, `[T, E]`.

    A_t = δ_t + γλ·A_{t+1} within an episode, δ_t = r_t + γ·V(s_{t+1}) − V(s_t), V = 0 behind a
    terminated state.

    Args:
        rollout: What happened.
        values: V of all its observations, `[T + 1, E]`.
        discount: γ.
        smoothing: λ; 1 is the return minus the baseline, 0 one step ahead.

    Source: Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equations 11 to 16.
    """
    found = torch.zeros_like(rollout.rewards)
    following = torch.zeros_like(values[0])
    ended = rollout.terminated | rollout.truncated
    for t in reversed(range(len(found))):
        alive = (~rollout.terminated[t]).to(values.dtype)
        delta = rollout.rewards[t] + discount * alive * values[t + 1] - values[t]
        following = delta + discount * smoothing * (~ended[t]).to(values.dtype) * following
        # A step that only begins an episode passes nothing back into the one before.
        following = following * rollout.counts[t]
        found[t] = following
    return found


def policy_gradient_engines(
    model: nn.Module,
    optimizer: Optimizer,
    device: torch.device,
    seed: int = 0,
    clip_grad_norm: float | None = None,
    environment: str = "CartPole-v1",
    environments: int = 16,
    steps: int = 64,
    discount: float = 0.99,
    smoothing: float = 0.95,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
    solved: float | None = None,
) -> Engines:
    """Engines of an actor-critic; an iteration is one rollout and one update of the policy.

    loss = −mean(A · ln π(a|s)) + value_weight · mean((V(s) − R)²) − entropy_weight · mean H(π(s)),
    with normalized advantages A and returns R = A + V(s) from before normalization.

    The trainer's output is the step output: `losses` holds `policy`, `value` and `entropy`;
    `y_pred` the logits and `y` the actions. Its `scalars` are `metrics/episode_return` and
    `metrics/episode_length` (means over the episodes that ended in this rollout, where any did)
    and `updates/kl`, the KL divergence of the policy after the update from the one before,
    mean over states of Σ_a π_old(a) · ln(π_old(a) / π_new(a)), in nats.

    The evaluator plays as many episodes as the batch says, each from its own start, with the most
    probable actions; its metrics are `episode_return` and `episode_length`.

    Args:
        model: Observations `[N, …]` → logits `[N, actions]`, values `[N]`.
        optimizer: Of its parameters.
        device: Where the model is; environments run in main memory.
        seed: Of the environments and the actions; training draws no other random number.
        clip_grad_norm: Global norm.
        environment: A name that gymnasium knows, with discrete actions.
        environments: E, played side by side.
        steps: T, in each of them, per update.
        discount: γ.
        smoothing: λ of the advantages.
        value_weight: Weight of the value's error.
        entropy_weight: Weight of the entropy bonus.
        solved: Mean return of the evaluation's episodes at which training ends; None: never.

    Raises:
        ModuleNotFoundError: gymnasium is not installed.
        ValueError: A value out of range, or gymnasium knows no such environment.
    """
    for name, value in (("environments", environments), ("steps", steps)):
        if value < 1:
            raise ValueError(f"engine.{name} must be 1 or more, got {value}")
    for name, share in (("discount", discount), ("smoothing", smoothing)):
        if not 0 <= share <= 1:
            raise ValueError(f"engine.{name} must be in [0, 1], got {share}")
    player = _Player(environment, environments, seed, device)
    player.check(model)

    def update(engine: Engine, batch: Any) -> dict[str, Any]:
        model.train()
        rollout = player.play(model, steps)
        states = rollout.observations[:-1].flatten(0, 1)
        with torch.no_grad():
            _, last_values = model(rollout.observations[-1])
        logits, values = model(states)
        with torch.no_grad():
            table = torch.cat((values.detach().view(steps, -1), last_values[None]))
            gain = advantages(rollout, table, discount, smoothing).flatten()
            target = gain + values.detach()
            counts = rollout.counts.flatten()
            n = counts.sum()
            mean = (gain * counts).sum() / n
            gain = (gain - mean) / (((gain - mean) ** 2 * counts).sum() / n).sqrt().clamp(min=1e-8)
        log_policy = log_softmax(logits, dim=1)
        actions = rollout.actions.flatten()
        chosen = log_policy.gather(1, actions[:, None])[:, 0]
        entropy = -(log_policy.exp() * log_policy).sum(1)
        losses = {
            "policy": -(gain * chosen * counts).sum() / n,
            "value": value_weight * (mse_loss(values, target, reduction="none") * counts).sum() / n,
            "entropy": -entropy_weight * (entropy * counts).sum() / n,
        }
        loss = losses["policy"] + losses["value"] + losses["entropy"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
        optimizer.step()
        with torch.no_grad():
            after = log_softmax(model(states)[0], dim=1)
            before = log_policy.detach()
            kl = ((before.exp() * (before - after)).sum(1) * counts).sum() / n
        output = step_output(losses, loss, logits, actions)
        output["scalars"] = {**player.ended(), "updates/kl": kl}
        return output

    def evaluate(engine: Engine, batch: tuple[int, int]) -> dict[str, Any]:
        count, part = batch
        training = model.training
        model.eval()
        try:
            # Always the same starts, so that evaluations can be compared with each other.
            returns, lengths = _Player(environment, count, seed + part, device).finish(model)
        finally:
            model.train(training)
        if solved is not None and float(returns.mean()) >= solved:
            trainer.terminate()
        return {"episode_return": returns, "episode_length": lengths}

    trainer = Engine(update)
    return Engines(
        trainer,
        lambda: Engine(evaluate),
        metrics={
            name: Average(output_transform=lambda output, name=name: output[name].mean())
            for name in ("episode_return", "episode_length")
        },
        step_output=False,
        predictions="logits",
        rehearse=False,
        state={"player": player},
    )


class _Player:
    """Plays several environments of one kind side by side, drawing actions by itself."""

    def __init__(self, name: str, count: int, seed: int, device: torch.device) -> None:
        self._name = name
        self._environments = _make(name, count)
        self._saved: bool | None = None  # whether their state can be had; tried when it is needed
        self._device = device
        self._generator = torch.Generator().manual_seed(seed)
        self._state, _ = self._environments.reset(seed=seed)
        self._fresh = torch.zeros(count, dtype=torch.bool)
        self._return = torch.zeros(count)
        self._length = torch.zeros(count)
        self._ended: list[tuple[Tensor, Tensor]] = []

    def check(self, model: nn.Module) -> None:
        """Show the model one observation.

        Raises:
            ValueError: It does not take it, or does not give logits and a value for it.
        """
        observation, training = self._observation()[:1], model.training
        model.eval()
        try:
            with torch.no_grad():
                logits, value = model(observation.to(self._device))
            shapes = (tuple(logits.shape), tuple(value.shape))
        except Exception as error:
            raise ValueError(
                f"model {type(model).__name__} must turn observations of shape "
                f"{list(observation.shape)} into logits and values: {str(error).splitlines()[0]}"
            ) from error
        finally:
            model.train(training)
        wanted = ((1, int(self._environments.single_action_space.n)), (1,))
        if shapes != wanted:
            raise ValueError(
                f"model {type(model).__name__} must give logits and values of the shapes "
                f"{wanted[0]} and {wanted[1]}, got {shapes[0]} and {shapes[1]}"
            )

    def play(self, model: nn.Module, steps: int) -> Rollout:
        """T steps with actions drawn from the policy, going on where the last call stopped."""
        self._ended = []
        rows: list[tuple[Tensor, ...]] = []
        for _ in range(steps):
            observation = self._observation()
            with torch.no_grad():
                policy = model(observation.to(self._device))[0].softmax(1).cpu()
            action = torch.multinomial(policy, 1, generator=self._generator)[:, 0]
            rows.append((observation, action, *self._step(action)))
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        columns[0] = torch.cat((columns[0], self._observation()[None]))
        return Rollout(*(column.to(self._device) for column in columns))

    def finish(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Play every environment's first episode to its end with the most probable actions."""
        done = torch.zeros_like(self._fresh)
        returns, lengths = torch.zeros_like(self._return), torch.zeros_like(self._length)
        while not done.all():
            with torch.no_grad():
                logits = model(self._observation().to(self._device))[0].cpu()
            reward, terminated, truncated, _ = self._step(logits.argmax(1))
            returns += reward * ~done
            lengths += (~done).float()
            done |= terminated | truncated
        return returns, lengths

    def ended(self) -> dict[str, Tensor]:
        """Mean return and length of the episodes that ended in the last rollout."""
        if not self._ended:
            return {}
        returns, lengths = (torch.cat(part) for part in zip(*self._ended, strict=True))
        return {"metrics/episode_return": returns.mean(), "metrics/episode_length": lengths.mean()}

    def state_dict(self) -> dict[str, Any]:
        """The draws, the episodes that go on, and the environments, if that can be had."""
        if self._saved is None:
            self._saved = keeps_its_state(lambda: _make(self._name, 2))
        return {
            "generator": self._generator.get_state(),
            "environments": environment_state(self._environments) if self._saved else None,
            "observation": self._observation(),
            "fresh": self._fresh,
            "return": self._return,
            "length": self._length,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; in new episodes where the environments could not be saved."""
        self._generator.set_state(state_dict["generator"])
        if state_dict["environments"] is None:
            _log.warning(
                "the environments of %s cannot be saved: the training goes on in new episodes, "
                "and not exactly as it would have", self._name,
            )  # fmt: skip
            return
        set_environment_state(self._environments, state_dict["environments"])
        self._state = state_dict["observation"].numpy()
        self._fresh, self._return = state_dict["fresh"], state_dict["return"]
        self._length = state_dict["length"]

    def _observation(self) -> Tensor:
        return torch.as_tensor(self._state, dtype=torch.float32).clone()

    def _step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Behind an end, gymnasium's next step begins a new episode and takes no action.
        counts = (~self._fresh).float()
        self._state, reward, terminated, truncated, _ = self._environments.step(action.numpy())
        rewards = torch.as_tensor(reward, dtype=torch.float32)
        terminated, truncated = torch.as_tensor(terminated), torch.as_tensor(truncated)
        self._return = (self._return + rewards) * counts
        self._length = (self._length + 1) * counts
        ended = terminated | truncated
        if ended.any():  # in main memory, as everything of an environment is
            self._ended.append((self._return[ended], self._length[ended]))
        self._fresh = ended
        return rewards, terminated, truncated, counts


def _make(name: str, count: int) -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "policy gradient needs gymnasium, which is not installed: pip install 'trainkit[rl]'"
        ) from error
    try:
        spec = gymnasium.spec(name)
        mode = "vector_entry_point" if spec.vector_entry_point else "sync"
        return gymnasium.make_vec(name, num_envs=count, vectorization_mode=mode)
    except gymnasium.error.Error as error:
        raise ValueError(f"engine.environment: {' '.join(str(error).split())}") from error
