"""The body of the task queue. ``taskqueue.py`` beside this folder is its face.

The floors, from the top; a module imports only from floors below its own (checked by import-linter):

    wheel               what the wheel adds around the face
    cli                 flags and commands; imports no role
    web                 the HTTP API, the dashboard and the metrics endpoint, on Quart and Hypercorn
    remote              the Python client of that API, on httpx
    work | upkeep       run tasks | promote, recover, prune, sample, carry out bulk operations
    opening             opens the store that the settings name
    producer            the producer side: submit, look, cancel, wait
    store               the only door to Redis
    filters             which tasks someone means, from a query or a line of text
    terms               reads the terms of a submission
    life | logs         stages of the process and its signals | how log lines look
    metrics             every Prometheus instrument, once
    settings            frozen settings, and where each value came from
    tasks               how a user declares a task: @task, Context, discovery, payload binding
    domain              pure: states, records, back-off, ids, errors
"""

__version__ = "0.1.0"
