"""Ingress on this host: from Ingresses, Services and certificates to an HAProxy that serves them."""
