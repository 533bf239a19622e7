"""Webhooks after https://www.standardwebhooks.com: whoever asked for a job is told what became of it."""
