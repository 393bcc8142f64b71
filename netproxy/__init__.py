"""The data path of Services on one host: a process of its own that serves its last table."""
