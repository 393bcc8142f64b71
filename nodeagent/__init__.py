"""The node agent: one per host; runs pods on Podman and says what it sees."""
