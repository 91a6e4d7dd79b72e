"""Floor 4: running tasks. The worker owns a pool, and one line to the store for each queue.

worker        starts and drains everything below
dispatcher    which queues are served; crew: what the parts know of each other
shares        how the free places are shared among the queues
line          one lease on one queue: settle, claim, wake up, survive faults
tenure        how long that lease is sure to be held
rivals        what live workers of another release may make of a payload
isolation     a suspect of having killed its workers runs alone
farewell      what an orderly stop could not tell the store
heartbeat     an OS thread that renews leases even while the event loop is blocked
pool          how many attempts run at once, and which claims wait for their turn
execution     one attempt, in an asyncio task of its own, from its start to its settlement
run           what is known of an attempt under way; the Desk behind its Context
calls         how a handler is called: on the loop, in a thread, aside, in a process
aside         a coroutine function on an event loop of its own in a thread
processes     the processes of process=True handlers, seen from the worker
child         … and from inside; messages: what they say to each other
ownership     asyncio tasks that handlers start belong to their attempts
settlement    what an attempt comes to; verdict: what becomes of its task; finishes: its log line
"""
