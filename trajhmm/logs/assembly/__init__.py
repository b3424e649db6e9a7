"""From tables to a `RunSet`: columns, runs, steps, blanks, and what was remarkable."""
