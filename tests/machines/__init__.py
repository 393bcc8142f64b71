"""Hosts that systemd has booted, provisioned by the collection; see HACKING.md."""
