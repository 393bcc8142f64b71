"""Endpoints, tables and names derived from the view; never stored."""
