"""The search space: domains, conditions, encoding to the unit cube."""
