"""Where objects live: one port, several bodies."""
