"""One module for each revision of the database's schema; a published revision is never edited."""
