"""Sample text from a character model."""

from typing import Protocol

import torch
from torch import Tensor, nn

from trainkit.models.sizes import check_size

__all__ = ["HasClasses", "sample_text"]


class HasClasses(Protocol):
    """Data that name their classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The characters, in the order of their class indices."""


@torch.no_grad()
def sample_text(
    model: nn.Module,
    data: HasClasses,
    device: torch.device,
    context: int,
    prompt: str = "\n",
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
) -> str:
    """Text that the model writes after a prompt, as a Markdown block.

    Each character is drawn from softmax(logits / temperature). The draws come from a generator
    of their own, the same at every call, so that what differs between two samples is the model;
    the global random state is left alone. The model should be in evaluation mode.

    Args:
        model: Characters `[1, context]` in, logits `[1, classes, context]` out, causal.
        data: Whose `classes` are the characters.
        device: The model's.
        context: The most characters that the model sees.
        prompt: What to go on from, not empty, of characters in `data.classes`.
        length: Characters to draw.
        temperature: Below 1 bolder, above 1 more random than the model is.
        seed: Of the draws.

    Raises:
        TypeError: `context` or `length` is not an integer.
        ValueError: A value out of range, or a character that the data do not have.

    Cost: one forward pass per character; one read of the device at the end.
    """
    check_size("context", context)
    check_size("length", length)
    if not temperature > 0:
        raise ValueError(f"temperature must be greater than 0, got {temperature}")
    index = {character: i for i, character in enumerate(data.classes)}
    unknown = sorted(set(prompt) - set(index))
    if unknown or not prompt:
        raise ValueError(
            f"the prompt must have characters, all of them in data.classes, got {prompt!r}"
        )
    generator = torch.Generator(device).manual_seed(seed)
    text = torch.tensor([[index[character] for character in prompt]], device=device)
    text = torch.cat([text, text.new_zeros(1, length)], 1)
    for end in range(len(prompt), len(prompt) + length):
        logits = _logits(model, text[:, max(0, end - context) : end], context)
        probabilities = (logits / temperature).float().softmax(1)
        text[:, end : end + 1] = torch.multinomial(probabilities, 1, generator=generator)
    written = "".join(data.classes[i] for i in text[0].tolist())
    return "\n".join("    " + line for line in written.split("\n"))


def _logits(model: nn.Module, text: Tensor, context: int) -> Tensor:
    """Of the character after `text`, `[1, classes]`."""
    # What stands behind does not matter to a causal model; one shape is compiled once.
    padded = nn.functional.pad(text, (0, context - text.shape[1]))
    logits: Tensor = model(padded)[:, :, text.shape[1] - 1]
    return logits
