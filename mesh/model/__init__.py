"""What the objects are and mean: pure functions and values, shared with nodeagent and netproxy."""
