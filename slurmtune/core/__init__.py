"""The pure heart: a study as a fold of events."""
