"""What a worker is sent. Knows no Prefect."""
