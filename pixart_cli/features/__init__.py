"""Floor 2: what the tool can do. One stem per feature; returns results, prints nothing."""
