"""What is there: server, table, cutoff, what depends on the table."""
