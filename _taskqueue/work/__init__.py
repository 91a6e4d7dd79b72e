"""Floor 4: running tasks. The worker owns slots, and one line to the store for each queue.

worker        starts and drains everything below
dispatcher    which queues are served
execution     one attempt, as a list of steps that ends in one settlement
shares        how the free slots are shared among the queues
line          one lease on one queue: settle, claim, wake up, survive faults
pool          the slots: coroutines that take claims from one deque
heartbeat     an OS thread that renews leases even while the event loop is blocked
"""
