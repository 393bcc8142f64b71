"""One pure reconciler per kind."""
