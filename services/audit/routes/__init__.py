"""The HTTP handlers of audit: parse, call, return."""
