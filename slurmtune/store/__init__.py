"""The files of a study, and only files."""
