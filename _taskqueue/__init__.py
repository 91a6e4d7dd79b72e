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
    loop                runs the event loop to the end, whoever else tries to end it
    life | logs         stages of the process and its parts | how log lines look
    metrics             every Prometheus instrument, once
    settings            frozen settings, and where each value came from
    watchdog            hears signals, and ends the process when nothing else does
    outlet | init       how log lines leave | the first process of a container
    forks               what no child may keep, and the end of children
    tasks               how a user declares a task: @task, Context, discovery, payload binding
    domain              pure: states, records, back-off, ids, errors
"""

__version__ = "0.1.0"
