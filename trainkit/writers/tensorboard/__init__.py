"""The format of TensorBoard's event files."""
