"""Views of a run: ways of seeing that something is wrong, and their portfolio."""
