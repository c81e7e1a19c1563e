"""Results for other programs: dashboards and tables."""
