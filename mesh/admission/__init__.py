"""Accepts, completes or refuses what users write."""
