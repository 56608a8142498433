"""Data sets that the shipped experiments need, and batches of tensors in memory."""

from trainkit.data.batches import Batches
from trainkit.data.csv_table import csv_table
from trainkit.data.data import Data, SizedIterable
from trainkit.data.digits import digits
from trainkit.data.ended_early import EndedEarlyError, ended_early, length_of
from trainkit.data.episodes import episodes
from trainkit.data.splits import Standardization, split
from trainkit.data.tables import breast_cancer, diabetes
from trainkit.data.text import ALPHABET, encode, python_reference

__all__ = [
    "ALPHABET",
    "Batches",
    "Data",
    "EndedEarlyError",
    "SizedIterable",
    "Standardization",
    "breast_cancer",
    "csv_table",
    "diabetes",
    "digits",
    "encode",
    "ended_early",
    "episodes",
    "length_of",
    "python_reference",
    "split",
]
