"""Test outcomes for CI systems: JUnit XML, GitHub annotations, a Markdown summary and a badge."""
