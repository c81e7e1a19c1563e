"""Load tests with Locust: journeys, schedules, statistics and the web page."""
