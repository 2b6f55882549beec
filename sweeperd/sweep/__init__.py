"""One run of one sweep: choose, pace and delete expired rows, safely."""
