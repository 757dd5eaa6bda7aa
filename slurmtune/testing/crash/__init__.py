"""Whole studies over real files, in which every file operation can be the last one."""
