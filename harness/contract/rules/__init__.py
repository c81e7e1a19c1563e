"""The rules: one module for each area of requirements; ``stream`` and ``comparisons`` say which apply when."""
