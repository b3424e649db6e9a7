"""Lyapunov exponents of models and of logs, phases of learning, convergence in probability, proxies of rank."""
