"""Chooses a node for a pod: filters that say why not, scores that say how well."""
