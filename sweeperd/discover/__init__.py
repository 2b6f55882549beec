"""`discover`: which tables of a database expire, told without touching them."""
