"""`python -m mesh.cli`: the command `mesh`."""

from mesh.cli.main import main

main()
