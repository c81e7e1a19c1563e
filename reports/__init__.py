"""A results file as one self-contained HTML page, for people who were not there."""
