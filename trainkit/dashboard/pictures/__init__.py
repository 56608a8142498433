"""Pictures of what a network predicts: pure functions, NumPy arrays in, a uint8 image out."""
