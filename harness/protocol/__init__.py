"""What the wire says: bytes to values and back. No I/O, no judgement."""
