"""Video files: looked into, decoded, cut."""
