"""Logs larger than memory, read piece by piece."""
