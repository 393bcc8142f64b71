"""What would happen: the same controllers and scheduler on a copy of the objects, with hosts and time made up."""
