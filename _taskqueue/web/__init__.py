"""Floor 5: HTTP. The API on Quart, the metrics endpoint, and the servers under both.

server        sockets bound first, Hypercorn ended by an event, never by cancellation
app           puts the API together: blueprints, errors, headers, guard
tasks         submit, read, cancel
queues        counts by state
health        /livez, /readyz, /version
scrape        /metrics on its own port
problems      every error as one shape (RFC 9457)
shapes        the JSON of a task
"""
