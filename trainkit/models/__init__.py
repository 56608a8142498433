"""Models of the shipped experiments: small, ordinary PyTorch."""

from trainkit.models.cnn import CNN
from trainkit.models.mlp import MLP
from trainkit.models.sampling import sample_text
from trainkit.models.transformer import Transformer

__all__ = ["CNN", "MLP", "Transformer", "sample_text"]
