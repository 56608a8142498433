"""Hydra groups of interchangeable parts; installed as ``trainkit.configs``."""
