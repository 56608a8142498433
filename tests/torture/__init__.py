"""Runs that are killed, again and again: a part in every test run, all of it in `make torture`."""
