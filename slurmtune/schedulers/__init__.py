"""Schedulers: one algorithm per file; each decides promotion and stopping."""
