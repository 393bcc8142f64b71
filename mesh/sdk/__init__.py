"""The Python client: async, with a blocking twin."""
