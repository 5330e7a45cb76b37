"""The same decisions as in production, over recorded arrivals and a virtual clock."""
