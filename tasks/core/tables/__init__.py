"""What is published: schemas, rows, and what one run knows of another."""
