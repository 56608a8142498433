"""A causal transformer over the characters of a text."""

from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.models.sizes import check_share, check_size

__all__ = ["Transformer"]


class Transformer(nn.Module):
    """Predicts at every position what comes next, from what came before (pre-norm, GPT-style).

    Each block is x + attention(norm(x)), then x + mlp(norm(x)); the last norm and a linear layer
    give the logits.

    Args:
        vocabulary: Number of different characters.
        length: The most positions that can be seen at once.
        layers: Number of blocks.
        width: Of the residual stream; a multiple of `heads`.
        heads: Attention heads per block.
        dropout: Share of each branch's output that is left out in training.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size or a share out of range, or a width that `heads` does not divide.

    Example:
        >>> import torch
        >>> model = Transformer(vocabulary=97, length=16, layers=2, width=32)
        >>> model(torch.zeros(5, 16, dtype=torch.int64)).shape  # batch, classes, positions
        torch.Size([5, 97, 16])

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        layers: int = 12,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for key, size in (
            ("vocabulary", vocabulary), ("length", length), ("layers", layers), ("width", width),
            ("heads", heads),
        ):  # fmt: skip
            check_size(f"model.{key}", size)
        check_share("model.dropout", dropout)
        if width % heads:
            raise ValueError(f"model.width must be a multiple of model.heads={heads}, got {width}")
        self.length = length
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        self._initialize(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next character, `[N, vocabulary, T]`, for characters `[N, T]`."""
        if x.shape[1] > self.length:
            raise ValueError(
                f"the model sees at most model.length={self.length} positions, got {x.shape[1]}"
            )
        h = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        logits: Tensor = self.head(self.norm(h))
        return logits.transpose(1, 2)  # classes in dimension 1, where every loss expects them

    def _initialize(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                # Each branch adds to the residual stream: together they keep its variance.
                branch = name.endswith(("attention.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if branch else 0.02)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`, `[N, T, width]`."""
        x = x + self.dropout(self.attention(self.norm_1(x)))
        out: Tensor = x + self.dropout(self.mlp(self.norm_2(x)))
        return out


class CausalAttention(nn.Module):
    """Every position attends to itself and to those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`, `[N, T, width]`."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """Four times the width in between, with a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.activation = nn.GELU()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`, `[N, T, width]`."""
        out: Tensor = self.down(self.activation(self.up(x)))
        return out
