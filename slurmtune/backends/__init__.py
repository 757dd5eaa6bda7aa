"""Where attempts run: Slurm, local processes, a simulated cluster."""
