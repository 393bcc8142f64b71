"""What the host and its pods use: read from cgroupfs and procfs, told as a summary and as Prometheus' figures."""
