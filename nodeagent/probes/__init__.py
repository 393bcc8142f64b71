"""From probe results to verdicts."""
