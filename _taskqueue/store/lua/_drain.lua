-- A script that drains must run at maxmemory too. Redis lets a whole script pass once its first write is one that
-- cannot grow memory, so that write comes first, and removes nothing. Only what takes new data may be refused
-- there: submit, edit and reserve.
-- It also proves that tasks can be taken out of where they are: a move adds before it takes away, so that one that fails
-- half-way loses nothing, and does not put a task in two places.
-- keys:  leases, running
redis.call('HDEL', running, '')
redis.call('ZREM', leases, '')
