"""Logs that grow: what is new since the last look."""
