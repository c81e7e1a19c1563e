"""The results file of a test: report, gate and exports read nothing else."""
