"""Fitting parameters to rows: EM, starts, restarts and the choice of the number of states."""
