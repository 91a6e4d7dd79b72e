-- Redis' clock, read once a script: the only clock for leases and due times.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local past_us = clock[2] % 1000
