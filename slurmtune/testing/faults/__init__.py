"""Parts of the simulation in which everything goes wrong; `fault_study` puts them together."""
