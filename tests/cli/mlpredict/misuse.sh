# Wrong usage: exit 2 and a hint, nothing written.
. "$HERE/models.inc"
. "$HERE/spec.inc"
printf '{"x": [1, 2, 3]}\n' >x.jsonl
refused() {
  local status=0
  mlpredict "$@" >out 2>&1 || status=$?
  echo "$status: mlpredict $*"
  sed 's/^/    /' out
}
refused
refused --nonsense m.mil
refused --input x.jsonl m.mil
refused m.mil 5
refused m.mil q=5
refused m.mil x=[1,2,3] x=[1,2,3]
refused m.mil x=[1,2
refused m.mil x=
refused price.mlmodel rooms=four area=1
refused m.mil --batch x=[1,2,3]
refused m.mil --inputs x.jsonl x=[1,2,3]
refused m.mil --inputs x.jsonl --outputs y.txt
refused m.mil --inputs x.jsonl --outputs y
refused m.mil --inputs x.jsonl --on-error ignore
refused m.mil --inputs x.jsonl --on-error record
refused m.mil --inputs x.jsonl --on-error record --outputs y.csv
refused m.mil --inputs x.jsonl --outputs x.jsonl
refused m.mil --inputs x.jsonl --outputs m.mil
for shard in 1 /2 2/2 -1/2 0/0 a/b; do refused m.mil --inputs x.jsonl --shard=$shard; done
refused m.mil --top-k 0 x=[1,2,3]
refused m.mil --rtol=-1 x=[1,2,3]
refused m.mil --fit squeeze x=[1,2,3]
refused m.mil --function
refused m.mil --feature y x=[1,2,3]
refused m.mil --feature y=1 x=[1,2,3]
refused price.mlmodel --feature print=[1] rooms=4 area=1
refused - x=@- <m.mil
refused m.mil x=@- --inputs -
refused --json=no m.mil x=[1,2,3]
rm out
ls
