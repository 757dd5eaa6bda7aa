"""From a TOML file to a study that can run."""
