"""What TensorBoard shows beside the series: layout, table of runs, texts, pictures, pages."""
