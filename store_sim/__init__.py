"""A store with known truth, and the recordings that engineers replay."""
