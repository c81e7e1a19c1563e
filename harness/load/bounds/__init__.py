"""What this machine can do, and the refusal of a load that is far beyond it."""
