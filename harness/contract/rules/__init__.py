"""The rules: one module per area. ``stream`` and ``comparisons`` say which apply when."""
