"""The control socket: how commands reach the daemon."""
