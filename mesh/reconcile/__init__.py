"""The one loop that all controllers share."""
