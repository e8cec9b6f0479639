"""Brings a call to a server and its answer back: gRPC, TLS, retries and streams."""
