"""Who is where, and who touched what."""
