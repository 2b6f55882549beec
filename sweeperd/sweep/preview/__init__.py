"""What the next run of a sweep would do, and why: read, and never written."""
