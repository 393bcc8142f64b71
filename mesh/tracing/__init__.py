"""Traces: what an apply led to, until the pods that came of it are ready (docs/traces.md). Off unless configured."""
