"""Floor 2: the only door to Redis. Keys, codec, scripts, connections, the embedded server, and one method per verb."""
