"""Neural-network weights: where they come from and how they are checked."""
