"""The control side of the mesh: object model, store, scheduler, fleet, gRPC services, SDK and command line."""

__version__ = "0.1.0"
