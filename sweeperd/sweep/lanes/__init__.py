"""Cursors over one table."""
