"""Generated from proto/mesh/etcd by tools/generate.py."""
