"""When runs stop changing from state to state, and how the hazard of a change falls."""
