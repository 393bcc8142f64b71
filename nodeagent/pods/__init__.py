"""From an assigned pod and what is seen of it to the next step."""
