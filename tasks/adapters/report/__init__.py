"""The report of a run as a page, and timelines that editing programs open."""
