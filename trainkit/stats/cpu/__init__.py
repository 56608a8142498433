"""Faster loops for tensors in main memory."""
