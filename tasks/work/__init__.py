"""The functions that workers are sent, with what they are handed. Knows no Prefect and no `Run`."""
