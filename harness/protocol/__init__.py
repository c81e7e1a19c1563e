"""Wire formats: HTTP/1.1, server-sent events and JSON. No I/O and no verdicts."""
