"""May this go out? A results file held against objectives, and against an earlier results file."""
