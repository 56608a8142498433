"""Data sets that the shipped experiments need, and batches of tensors in memory."""

from trainkit.data.batches import Batches
from trainkit.data.data import Data, SizedIterable
from trainkit.data.digits import digits
from trainkit.data.splits import Standardization, split

__all__ = ["Batches", "Data", "SizedIterable", "Standardization", "digits", "split"]
