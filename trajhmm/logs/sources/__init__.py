"""Which files are read, and what their runs are called."""
