"""`mesh uncordon`: see mesh.cli.cordon."""

from mesh.cli.cordon import make

command = make("uncordon", False, "Let a host take new pods again.")
