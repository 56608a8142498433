"""Models of the shipped experiments: small, ordinary PyTorch."""

__all__: list[str] = []
