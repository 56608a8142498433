"""The command line: `trainkit <command>`, a file per command."""
