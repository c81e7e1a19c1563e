"""Self-contained HTML pages: the report of one results file, and the comparison of several."""
