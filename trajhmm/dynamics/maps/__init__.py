"""The training map, what speaks for its states and edges, how far runs differ, and what may be said of it in words."""
