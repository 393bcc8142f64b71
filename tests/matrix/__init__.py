"""The failure matrix: what a user sees while hosts go through what hosts go through; see docs/reliability.md."""
