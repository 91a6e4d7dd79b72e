-- The value of a task in `running`: lease|start or prefetched|attempt|crashes|claimed_ms|score.
local function read_claim(value)
  local lease_, flag, attempt, crashes, claimed, score = string.match(value, '^(.-)|(.)|(%d+)|(%d+)|(%d+)|(.*)$')
  return {lease = lease_, flag = flag, attempt = tonumber(attempt), crashes = tonumber(crashes), score = score}
end
