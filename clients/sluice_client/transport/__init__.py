"""The way of a call to a server and back: gRPC, TLS, retries, streams."""
