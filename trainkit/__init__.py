"""Training monitoring for PyTorch."""
