"""`python -m netproxy`."""

from netproxy.app import main

main()
