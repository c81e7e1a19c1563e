"""The embedded target: a conforming server of the documented API, with switchable faults."""
