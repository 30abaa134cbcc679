"""The HTTP handlers of authz: parse, call, return."""
