"""The HTTP face: jobs for one video each, and answers about videos that are known."""
