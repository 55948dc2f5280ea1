"""What a queue in Redis does in one step each, as scripts: no process can see, or leave, the half of it.

A job lies where arq looks for it: its id in the sorted set of the queue, by the moment it is due; a key that says that it
runs, with a lease. Everything else about it is in a hash of its own::

    {name}:job:ID     job state tries starts due_at progress result error fence key
    {name}:dead       sorted set of the ids of dead jobs, by the moment of their death
    {name}:key:...    the id of the job that came with a key

``fence`` grows with every worker that takes the job: whoever holds an older one has lost it.
"""

ENQUEUE = """
local job, queue, key = KEYS[1], KEYS[2], KEYS[3]
local id, body, due, due_at, keep = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if key ~= '' then
  local first = redis.call('GET', key)
  if first then return first end
  redis.call('SET', key, id, 'PX', keep)
  redis.call('HSET', job, 'key', key)
end
redis.call('HSET', job, 'job', body, 'state', 'queued', 'tries', 0, 'starts', 0, 'fence', 0, 'due_at', due_at)
redis.call('ZADD', queue, due, id)
return id
"""

TAKE = """
local queue, job, running = KEYS[1], KEYS[2], KEYS[3]
local most, lease, now = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local taken = {}
for i = 4, #ARGV do
  if #taken == most then break end
  local id = ARGV[i]
  if redis.call('EXISTS', running .. id) == 0 then
    local body, due = redis.call('HGET', job .. id, 'job'), redis.call('ZSCORE', queue, id)
    if not body then
      redis.call('ZREM', queue, id)
    elseif due and tonumber(due) <= now then
      -- not finished, and not put off by whoever had it, since its id was read
      local fence = redis.call('HINCRBY', job .. id, 'fence', 1)
      local starts = redis.call('HINCRBY', job .. id, 'starts', 1)
      redis.call('HSET', job .. id, 'state', 'running')
      redis.call('SET', running .. id, fence, 'PX', lease)
      taken[#taken + 1] = {body, fence, starts, tonumber(redis.call('HGET', job .. id, 'tries'))}
    end
  end
end
return taken
"""

RENEW = """
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""

FINISH = """
local job, queue, running, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, fence, state, tries, result, error, due, due_at, keep, now, most =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
if redis.call('HGET', job, 'fence') ~= fence then return 0 end
redis.call('DEL', running)
redis.call('HSET', job, 'state', state, 'tries', tries, 'starts', 0, 'result', result, 'error', error, 'due_at', due_at)
if state == 'queued' then
  redis.call('ZADD', queue, due, id)
  return 1
end
redis.call('ZREM', queue, id)
if state == 'dead' then
  redis.call('ZADD', dead, now, id)
  local surplus = redis.call('ZCARD', dead) - most
  if surplus > 0 then
    local popped = redis.call('ZPOPMIN', dead, surplus)
    for i = 1, #popped, 2 do
      redis.call('PEXPIRE', string.sub(job, 1, -1 - string.len(id)) .. popped[i], keep)
    end
  end
else
  redis.call('PEXPIRE', job, keep)
end
return 1
"""

GIVE_BACK = """
local job, queue, running = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', job, 'fence') ~= ARGV[2] then return 0 end
redis.call('DEL', running)
redis.call('HSET', job, 'state', 'queued')
redis.call('HINCRBY', job, 'starts', -1)
redis.call('ZADD', queue, ARGV[3], ARGV[1])
return 1
"""

REPORT = """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'progress', ARGV[1])
return 1
"""

RETRY = """
local job, queue, dead = KEYS[1], KEYS[2], KEYS[3]
if redis.call('ZREM', dead, ARGV[1]) == 0 then return 0 end
redis.call('HSET', job, 'state', 'queued', 'tries', 0, 'starts', 0, 'error', '', 'due_at', ARGV[3])
redis.call('ZADD', queue, ARGV[2], ARGV[1])
return 1
"""

DROP = """
local job, queue, dead = KEYS[1], KEYS[2], KEYS[3]
local state = redis.call('HGET', job, 'state')
if state ~= 'queued' and state ~= 'dead' then return 0 end
redis.call('ZREM', queue, ARGV[1])
redis.call('ZREM', dead, ARGV[1])
local key = redis.call('HGET', job, 'key')
if key and redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
redis.call('DEL', job)
return 1
"""

TAKE_SLOT = """
local slot, running = KEYS[1], KEYS[2]
local token, keep, hold = ARGV[1], ARGV[2], ARGV[3]
if not redis.call('SET', slot, token, 'NX', 'PX', keep) then return 0 end
if redis.call('SET', running, token, 'NX', 'PX', hold) then return 1 end
return 0
"""

HOLD_SLOT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

LEAVE_SLOT = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
