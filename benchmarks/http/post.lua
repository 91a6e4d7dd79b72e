-- Submissions for wrk. BENCH_BATCH tasks in each request (0: one task a request, without a list around it).
-- The last line written is JSON: requests, microseconds, errors, latency in microseconds.
local batch = tonumber(os.getenv('BENCH_BATCH') or '0')
local one = '{"payload": "' .. string.rep('x', 100) .. '"}'

wrk.method = 'POST'
wrk.headers['Content-Type'] = 'application/json'
wrk.body = batch == 0 and one or '{"tasks": [' .. string.rep(one, batch, ', ') .. ']}'

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"requests": %d, "us": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
