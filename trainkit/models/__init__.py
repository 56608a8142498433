"""Models of the shipped experiments: small, ordinary PyTorch."""

from trainkit.models.actor_critic import ActorCritic
from trainkit.models.cnn import CNN
from trainkit.models.dcgan import DCGANDiscriminator, DCGANGenerator
from trainkit.models.for_data import mlp_for_data
from trainkit.models.mlp import MLP
from trainkit.models.sampling import sample_text
from trainkit.models.transformer import Transformer

__all__ = [
    "CNN",
    "MLP",
    "ActorCritic",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Transformer",
    "mlp_for_data",
    "sample_text",
]
