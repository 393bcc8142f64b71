"""Generated from proto/mesh/v1 by tools/generate.py."""
