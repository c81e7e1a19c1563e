"""What a CI is given of a test: JUnit, annotations, a Markdown summary and a badge, all of one account of it."""
