"""`mesh annotate`: see mesh.cli.label."""

from mesh.cli.label import make

command = make(
    "annotate", "annotations", "annotated",
    "mesh annotate deployment web kubernetes.io/change-cause='better words'\nmesh annotate pod web note-",
)  # fmt: skip
