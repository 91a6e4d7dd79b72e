"""Floor 4: what keeps the queue in order, safe to run in any number of processes at once.

scheduler     the loop: promotes what is due, lets the others have their turn
reaper        takes tasks back from workers that were lost
mender        puts tasks back that are in no state
retention     forgets finished tasks beyond their age or count
sampler       reads queue sizes for the metrics
"""
