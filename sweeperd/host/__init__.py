"""The machine: clock, signals, systemd."""
