"""Where the rows of a fit come from: chunks of runs in memory, on disk or on a cluster."""
