-- The value of a task in `running`: lease|flag|attempt|crashes|claimed_ms|score. The flag says whether it counts as started:
-- p prefetched, s started among others, a started alone.
local function read_claim(value)
  local lease_, flag, attempt, crashes, claimed, score = string.match(value, '^(.-)|(.)|(%d+)|(%d+)|(%d+)|(.*)$')
  return {lease = lease_, flag = flag, attempt = tonumber(attempt), crashes = tonumber(crashes), claimed = claimed, score = score}
end

local function write_claim(claim, flag)
  return claim.lease .. '|' .. flag .. '|' .. claim.attempt .. '|' .. claim.crashes .. '|' .. claim.claimed .. '|' .. claim.score
end
