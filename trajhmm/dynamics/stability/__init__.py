"""How stable training is: Lyapunov exponents, freezing, instability that helps or harms, perturbation audits."""
