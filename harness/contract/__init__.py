"""The contract of the API: its requirements, the rules that decide them, and the Exchanges that they check."""
