# Full disk, closed pipe, unwritable output: exit 5; a failed run leaves nothing.
. "$HERE/models.inc"
printf '{"x": [1, 2, 3]}\n%.0s' $(seq 2000) >x.jsonl
mlpredict m.mil x=[1,2,3] >/dev/full || echo $?
mlpredict m.mil x=[1,2,3] --json >/dev/full || echo $?
mlpredict m.mil x=[1,2,3] --outputs /dev/full || echo $?
mlpredict m.mil --inputs x.jsonl --outputs /dev/full || echo $?
mlpredict m.mil x=[1,2,3] --outputs absent/y.npz || echo $?
mkdir folder
mlpredict m.mil x=[1,2,3] --outputs folder.npz/y.npz || echo $?
{ mlpredict m.mil --inputs x.jsonl --json || echo $? >status; } | true
cat status
mlpredict m.mil x=[1,2,3] >&- || echo $?
printf '{"x": [1, 2, 3]}\n{"x": 1}\n' >bad.jsonl
for format in jsonl csv npz; do mlpredict m.mil --inputs bad.jsonl --outputs y.$format || echo $?; done
ls
