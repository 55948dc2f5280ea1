"""Scripts that list, cancel, retry, drop and pause jobs; see `servey.jobs.redis.scripts` for the keys."""

from servey.jobs.redis.library import LIBRARY

CANCEL = (
    LIBRARY
    + """
local id, keep, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local job, now = P .. 'job:' .. id, now_ms()
local known = call('HMGET', job, 'state', 'queue', 'limit', 'worker')
if known[1] == 'running' then
  write_while_full()
  call('HSET', job, 'cancel', 1)
  local list = P .. 'cancelled:' .. known[4]
  call('RPUSH', list, id)
  call('PEXPIRE', list, 60000)
  return 1
end
if known[1] ~= 'queued' then return 0 end
unlist(id, known[2], known[3])
call('HSET', job, 'state', 'cancelled', 'ended_at', text(now))
ended(id, 'cancelled', keep, most, now)
publish('cancelled', id, now)
return 1
"""
)

RETRY = (
    LIBRARY
    + """
local id, job, now = ARGV[1], P .. 'job:' .. ARGV[1], now_ms()
local known = redis.pcall('HMGET', job, 'state', 'queue', 'priority', 'key')
local state = known[1]
if state ~= 'dead' and state ~= 'failed' and state ~= 'cancelled' then return 0 end
forget(id, state)
call('PERSIST', job)
call('HDEL', job, 'cancel', 'progress')
call('HSET', job, 'state', 'queued', 'tries', 0, 'starts', 0, 'killed', 0, 'alone', 0, 'error', '', 'due_at', text(now))
if known[4] then
  call('SET', P .. 'key:' .. known[4], id, 'NX')
  if call('GET', P .. 'key:' .. known[4]) == id then call('PERSIST', P .. 'key:' .. known[4]) end
end
put(id, known[2] or 'default', known[3] or 0, now, now)
publish('queued', id, now, 'due_at', text(now))
return 1
"""
)

DROP = (
    LIBRARY
    + """
local id, job = ARGV[1], P .. 'job:' .. ARGV[1]
local known = redis.pcall('HMGET', job, 'state', 'queue', 'limit', 'key')
local state = known[1]
if not state or state == 'running' then return 0 end
if state == 'queued' then unlist(id, known[2] or 'default', known[3]) else forget(id, state) end
if known[4] and call('GET', P .. 'key:' .. known[4]) == id then call('DEL', P .. 'key:' .. known[4]) end
call('DEL', job)
return 1
"""
)

PAUSE = """
redis.call('SADD', KEYS[1] .. 'queues', ARGV[1])
return redis.call('SADD', KEYS[1] .. 'paused', ARGV[1])
"""

RESUME = (
    LIBRARY
    + """
call('SREM', P .. 'paused', ARGV[1])
wake(ARGV[1])
return 1
"""
)

WAKE = (
    LIBRARY
    + """
for _, queue in ipairs(ARGV) do wake(queue) end
return 1
"""
)

QUEUES = (
    LIBRARY
    + """
-- Return the due time of the job that is due first, of those that may run; they are sorted by priority first.
local function first_due(key)
  local due, from = nil, '-inf'
  while true do
    local first = call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[2] then return due end
    local band = math.floor(first[2] / BAND)
    local own = first[2] - band * BAND
    if not due or own < due then due = own end
    from = text((band + 1) * BAND)
  end
end

local function earlier(a, b) return (not a or (b and b < a)) and b or a end

local found, running = {}, {}
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
  local later = call('ZRANGE', P .. 'later:' .. queue, 0, 0, 'WITHSCORES')
  local waiting = call('ZCARD', P .. 'jobs:' .. queue) + call('ZCARD', P .. 'later:' .. queue)
  found[queue] = {waiting, earlier(first_due(P .. 'jobs:' .. queue), tonumber(later[2]))}
end
for _, limit in ipairs(call('ZRANGE', P .. 'held', 0, -1)) do
  -- Jobs of one limit are of one action, and so of one queue.
  local first = call('ZRANGE', P .. 'held:' .. limit, 0, 0)[1]
  local each = first and found[call('HGET', P .. 'job:' .. first, 'queue')]
  if each then
    each[1] = each[1] + call('ZCARD', P .. 'held:' .. limit)
    each[2] = earlier(each[2], first_due(P .. 'held:' .. limit))
  end
end
for _, id in ipairs(call('ZRANGE', P .. 'running', 0, -1)) do
  local queue = call('HGET', P .. 'job:' .. id, 'queue')
  if queue then running[queue] = (running[queue] or 0) + 1 end
end
local answer = {}
for queue, each in pairs(found) do
  answer[#answer + 1] = {queue, call('SISMEMBER', P .. 'paused', queue), each[1], running[queue] or 0,
    each[2] and text(each[2]) or ''}
end
return answer
"""
)

ACTIONS = (
    LIBRARY
    + """
local found, running = {}, {}
for _, id in ipairs(call('ZRANGE', P .. 'running', 0, -1)) do
  local action = action_of(id)
  if action then running[action] = (running[action] or 0) + 1 end
end
for _, action in ipairs(call('SMEMBERS', P .. 'actions')) do
  local waiting = P .. 'queued:' .. action
  local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  -- Somebody else may have deleted jobs that wait, and a worker of an earlier version does not list what it took.
  while first[1] and redis.pcall('HGET', P .. 'job:' .. first[1], 'state') ~= 'queued' do
    call('ZREM', waiting, first[1])
    first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  end
  local dead = call('ZCARD', P .. 'dead:' .. action) + call('ZCARD', P .. 'failed:' .. action)
  found[#found + 1] = {action, call('ZCARD', waiting), running[action] or 0, dead, first[2] or ''}
end
return found
"""
)

WATCH = "return redis.call('SET', KEYS[1] .. 'watched', 1, 'PX', ARGV[1])"
