"""What nights and labels teach: how good scores are, a head of the fast score, an adapter of the judge."""
