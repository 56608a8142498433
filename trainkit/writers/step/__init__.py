"""What is written at one step: from tensors on their devices to numbers on the host."""
