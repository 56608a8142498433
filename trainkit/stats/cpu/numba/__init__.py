"""The loops, compiled by numba (the extra `fast`)."""
