-- A script that drains must run at maxmemory too. Redis lets a whole script pass once its first write is one that
-- cannot grow memory, so that write comes first, and removes nothing.
-- keys:  leases
redis.call('ZREM', leases, '')
