"""What TensorBoard shows of a run beside plain curves: pictures, layout and tables."""
