"""PostgreSQL: connections, catalogue, SQL text, errors."""
