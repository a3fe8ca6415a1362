-- Messages for wrk, one in each request: job n goes live, and job n - 1,000 finishes. Every run has ids of its own.
local count, run = 0, os.time()
local envelope = '{"type":"%s","regression":"post/%d","body":{"start_time":"2025-02-01T02:00:11.123-05:00",'
  .. '"uniqueid":"%d-%08d-0ad3-b0aa-09af0ff87caf","jobdir":"/home/runs/post/%d/job-%d","category":"sim",'
  .. '"config":"sim +rand +tbuf +seed=%d","seed":"%d","build":"mybuild","testgroup":"mytestgroup",'
  .. '"metadata":[["bufsize","9902"]],%s}}'

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  count = count + 1
  local job, kind, rest = math.floor((count + 1) / 2), "job-live", '"result":"live"'
  if count % 2 == 0 and job > 1000 then
    job, kind, rest = job - 1000, "job-finish", '"compute_ms":204825,"result":"pass"'
    if job % 10 == 0 then
      rest = '"compute_ms":204825,"result":"fail","fail_message":"Store buffer underflow at top.fifo1.input2[3]"'
    end
  elseif count % 2 == 0 then
    job = -job
  end
  local regression = job % 20
  return wrk.format(nil, nil, nil, envelope:format(kind, regression, run, job, regression, job, job, job, rest))
end
