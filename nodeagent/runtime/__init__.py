"""Containers and sandboxes: the port, and Podman behind it."""
