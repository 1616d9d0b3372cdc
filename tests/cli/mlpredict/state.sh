# States are kept from record to record of one run, start at zero, and have their own precision.
. "$HERE/models.inc"
printf '{"x": [%s]}\n' 1,2 3,4 0.0001,0 >x.jsonl
mlpredict sum.mil --inputs x.jsonl --json
mlpredict sum.mil x=[1,2] --json
mlpredict sum.mil --inputs x.jsonl --shard 1/2 --json
