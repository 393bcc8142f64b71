"""Figures for Prometheus: the text format, and the door through which they are read; shared by all programs."""
