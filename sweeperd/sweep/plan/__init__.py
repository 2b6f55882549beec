"""How each leaf is swept, and why."""
