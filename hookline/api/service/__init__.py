"""What routes ask: which job a request wants, and the answer to it."""
