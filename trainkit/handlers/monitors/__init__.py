"""The checklist: one file per item that is watched."""
