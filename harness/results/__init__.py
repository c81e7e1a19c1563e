"""The one file a test run leaves behind, and the only thing that report, gate and exports read."""
