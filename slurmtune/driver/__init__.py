"""The loop on the login node."""
