"""sweeperd: row-level TTL for any PostgreSQL."""

__version__ = "0.1.0"
