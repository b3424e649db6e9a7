"""Long watches in short."""
