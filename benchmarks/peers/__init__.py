"""One adapter a system. Each runs in that system's own environment and imports nothing else of ours but tally and adapter."""
