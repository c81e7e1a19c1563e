"""The embedded target: a strict, correct server of the documented API, and its switchable faults."""
