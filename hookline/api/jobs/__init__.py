"""Jobs: the queue, and the flow runs that they are."""
