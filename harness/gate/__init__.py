"""The gate: checks a results file against objectives and compares it with a baseline."""
