"""Load and conformance harness for APIs that stream an AI agent's run over Server-Sent Events."""

__version__ = "0.1.0"
