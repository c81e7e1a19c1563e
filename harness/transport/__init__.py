"""Sends a request and records the response as an Exchange: asyncio for the conformance suite, gevent for the load."""
