"""What containers find at their mount paths."""
