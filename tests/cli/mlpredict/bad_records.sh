# A record that is wrong stops the run, or is noted in its place; damaged files are refused.
. "$HERE/models.inc"
. "$HERE/spec.inc"
printf '{"x": [1, 2]}\n{"x": [1]}\nnot json\n{"y": 1}\n{"x": [3, 4]}\n' >x.jsonl
mlpredict relu.mlmodel --inputs x.jsonl || echo $?
mlpredict relu.mlmodel --inputs x.jsonl --on-error record --json || echo $?
mlpredict relu.mlmodel --inputs x.jsonl --on-error record --outputs y.jsonl 2>/dev/null || echo $?
wc -l <y.jsonl
mlpredict relu.mlmodel --inputs x.jsonl --on-error record --shard 0/4 --json
printf 'rooms,area\n1,2\n3\n4,x\n5,6\n' >r.csv
mlpredict price.mlmodel --inputs r.csv --json || echo $?
mlpredict price.mlmodel --inputs r.csv --json --on-error record || echo $?
printf 'rooms,area\n1,"2\n' >open.csv
mlpredict price.mlmodel --inputs open.csv --on-error record --json || echo $?
printf 'rooms,rooms,area\n1,2,3\n' >twice.csv
mlpredict price.mlmodel --inputs twice.csv || echo $?
mlpredict relu.mlmodel x=[1,2] --outputs y.npz
head -c 100 y.npz >cut.npz
mlpredict relu.mlmodel --inputs cut.npz || echo $?
printf '\377\0\0\0\0\0\0\0{"x":' >cut.safetensors
mlpredict relu.mlmodel --inputs cut.safetensors || echo $?
mlpredict relu.mlmodel --inputs absent || echo $?
mlpredict relu.mlmodel --inputs - </dev/null || echo $?
printf '\0\1\2\3' | mlpredict relu.mlmodel --inputs - || echo $?
# A line that never ends is read no further than the limit; deep nesting is refused.
printf '{"x": %s' "$(printf '[%.0s' $(seq 5000))" | mlpredict relu.mlmodel --inputs - --json || echo $?
