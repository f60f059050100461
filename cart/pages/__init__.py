"""The pages of a store, for shoppers and for those who work there, served by the store itself without a build step."""
