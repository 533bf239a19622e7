"""Who may ask, for which videos, and what a repeated request gets."""
