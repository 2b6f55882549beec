"""One process and its loops."""
