"""Extensions of Locust's web page: settings in its form, a Streams tab, live charts, the report."""
