"""meshd's own figures, and those of the whole mesh as it knows it."""
