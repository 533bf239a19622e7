"""What operators set, and what callers are told: settings, problems, the id of a request."""
