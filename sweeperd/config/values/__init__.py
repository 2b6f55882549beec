"""One value of the configuration each: what it may be, and what is said when it is not."""
