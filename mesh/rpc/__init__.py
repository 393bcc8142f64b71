"""The gRPC services of meshd."""
