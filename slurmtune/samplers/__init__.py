"""Samplers: one algorithm per file; each chooses configs."""
