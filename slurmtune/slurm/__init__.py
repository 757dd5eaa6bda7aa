"""Slurm's language, pure: text in, text out."""
