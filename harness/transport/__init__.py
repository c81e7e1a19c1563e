"""Turns a request into an Exchange: one receiver, driven by asyncio for pytest and by gevent for Locust."""
