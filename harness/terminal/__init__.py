"""The output of a running test: a dashboard, progress lines, or JSON for programs."""
