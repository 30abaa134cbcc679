"""What operators see of a running service: log lines, metrics, traces. No logic depends on it."""
