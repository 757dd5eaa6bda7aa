"""Checks of a study's directory: what is damaged, left over or unknown, and what can be mended."""
