"""Load: what Locust's users do, and the books that are kept of it."""
