# Records in and out in every format, file to file and through pipes; what is written reads back.
. "$HERE/models.inc"
. "$HERE/spec.inc"
printf '{"x": [[1, 2, 3]]}\n\n{"x": [0.5, -1, 0]}\r\n{"x": [-1, -2, -3]}' >x.jsonl
mlpredict m.mil --inputs x.jsonl
mlpredict m.mil --inputs x.jsonl --outputs y.jsonl
cat y.jsonl
mlpredict m.mil --inputs - --outputs - <x.jsonl | cmp - y.jsonl
mlpredict m.mil --inputs x.jsonl --json | cmp - y.jsonl
for format in csv npz safetensors jsonl; do
  mlpredict m.mil --inputs x.jsonl --outputs y.$format
  mlpredict m.mil --inputs x.jsonl --batch --expect y.$format
done
mlpredict m.mil --inputs x.jsonl --outputs again.npz
cmp y.npz again.npz
cat y.csv
# What one model writes the next reads: z + y of m as x of another.
sed 's/z/x/g; s/"y": [^x]*"x"/"x"/' y.jsonl | mlpredict relu.mlmodel --inputs - --json
printf 'x[1],x[0]\n1,2\n-1,0.5\n' | mlpredict relu.mlmodel --inputs - --json
# Arrays as one record and as many: without --batch the array is one input.
cat >id.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [?, 2]> y) {
            tensor<fp32, [?, 2]> x = identity(x = y)[name = string("x")];
        } -> (x);
}
MIL
mlpredict id.mil 'y=[[1,2],[3,4],[5,-6]]' --outputs x.npz
mlpredict rows.mil --inputs x.npz --json
mlpredict relu.mlmodel --inputs x.npz --batch --json
mlpredict relu.mlmodel --inputs - --batch --json <x.npz
mlpredict relu.mlmodel --inputs x.npz --batch --json --shard 1/2
# Numbers, labels and dictionaries.
printf 'a,b\n1,2\n3,-4.5\n' >ab.csv
for format in csv npz jsonl; do
  mlpredict which.mlmodel --inputs ab.csv --outputs s.$format
  mlpredict which.mlmodel --inputs ab.csv --batch --expect s.$format
done
cat s.csv
mlpredict which.mlmodel --inputs ab.csv --top-k 1 --json
mlpredict which.mlmodel --inputs ab.csv --outputs s.safetensors || echo $?
printf 'rooms,area,note\n1,2,"a ""b"", c"\n' | mlpredict price.mlmodel --inputs - --json || echo $?
printf 'rooms,area\n1,\n' | mlpredict price.mlmodel --inputs - --json
ls
