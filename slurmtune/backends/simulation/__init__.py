"""Parts of the simulated cluster; `slurmtune.backends.simulator` puts them together."""
