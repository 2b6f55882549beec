"""The throw-away server and its tables."""
