"""When runs converge, and which states delay them: regression, branch test, refits, what first rows foretell."""
