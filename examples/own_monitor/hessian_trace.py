"""The trace of the Hessian of the loss: a monitor that does more than look at tensors.

Run it in the folder of this file:

    trainkit run +experiment=digits \
        +monitor.parts.hessian._target_=hessian_trace.HessianTraceMonitor
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.func import functional_call

from trainkit import Moment, Monitor, Writer


class HessianTraceMonitor(Monitor):
    """Estimates the trace with Hutchinson's method: the mean of vᵀHv over random signs v.

    The loss of the current batch is computed again, on copies of the buffers, and the global random
    state is put back: training is the same with and without this monitor.

    Tags: `loss.hessian/trace`.

    Args:
        writer: Where the estimate goes.
        every: How often, in iterations.
        model: Takes the first element of a batch.
        loss_fn: Takes the output and the second element of a batch; returns the loss, or a mapping
            with its components.
        probes: Number of vectors v.
    """

    def __init__(
        self,
        writer: Writer,
        every: Any = 1,
        *,
        model: nn.Module,
        loss_fn: Callable[..., Any],
        probes: int = 4,
    ) -> None:
        super().__init__(writer, every)
        self.model, self.loss_fn, self.probes = model, loss_fn, probes
        self.signs = torch.Generator().manual_seed(0)

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of a sampled iteration."""
        return {Moment.ITERATION_COMPLETED: self.measure}

    def measure(self, engine: Engine) -> None:
        """Estimate and write."""
        weights = {n: p.detach().requires_grad_() for n, p in self.model.named_parameters()}
        buffers = {n: b.clone() for n, b in self.model.named_buffers()}
        parameters = tuple(weights.values())
        device = parameters[0].device
        x, y = (part.to(device) for part in engine.state.batch)
        with torch.enable_grad(), torch.random.fork_rng():  # dropout draws numbers
            loss = self.loss_fn(functional_call(self.model, weights | buffers, (x,)), y)
            if isinstance(loss, Mapping):  # the components of a loss of `trainkit run`
                loss = torch.stack([*loss.values()]).sum()
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            traces = [self.probe(parameters, gradients) for _ in range(self.probes)]
        step = engine.state.iteration
        self.writer.write_scalars(step, {"loss.hessian/trace": torch.stack(traces).mean()})

    def probe(self, parameters: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> Tensor:
        """vᵀHv for one v."""
        signs = [
            (torch.randint(0, 2, p.shape, generator=self.signs) * 2 - 1).to(p) for p in parameters
        ]
        products = torch.autograd.grad(gradients, parameters, signs, retain_graph=True)
        return torch.stack([(v * hv).sum() for v, hv in zip(signs, products, strict=True)]).sum()
