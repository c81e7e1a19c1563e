"""What this harness adds to Locust's own web page: settings in its form, a tab, charts, a report."""
