"""Where on a map a run under way is."""
