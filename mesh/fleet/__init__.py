"""The control side's end of the hosts."""
