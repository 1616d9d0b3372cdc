# Wrong usage: exit 2. Foreseen but absent: exit 4. Nothing is written.
. "$HERE/model.inc"
program ios16 fp16 >m.mil
network >n.mlmodel
try() { echo "mlquantize $*" >&2; mlquantize "$@" || echo "$? $*"; }
try
try m.mil
try -o out.mlpackage m.mil
try -o out.mlpackage --linear int8 --decompress m.mil
try -o out.mlpackage --linear int16 m.mil
try -o out.mlpackage --linear int8 --mode odd m.mil
try -o out.mlpackage --linear int8 --granularity row m.mil
try -o out.mlpackage --palettize 5 m.mil
try -o out.mlpackage --palettize 4 --mode symmetric m.mil
try -o out.mlpackage --decompress --min-elements 3 m.mil
try -o out.mlpackage --palettize 4 --only '(' m.mil
try -o out.mlpackage --palettize 4 --target iOS99 m.mil
try -o out --palettize 4 m.mil
try -o out.mlmodel --palettize 4 m.mil
try -o - --report - --palettize 4 m.mil
try -o n.mlmodel --palettize 4 n.mlmodel
try -o out.mlmodel --palettize 4 --target iOS18 n.mlmodel
try -o out.mlpackage --prune 0.5 --group 16 --vector 2 m.mil
try -o out.mlpackage --prune 2 m.mil
try -o out.mlpackage --prune 4:2 m.mil
try -o out.mlpackage --palettize custom m.mil
try -o out.mlpackage --palettize 4 --linear int8 --granularity channel m.mil
try -o out.mlpackage --float16 --linear int8 m.mil
# Neural networks have fewer forms.
try -o out.mlmodel --prune 0.5 n.mlmodel
try -o out.mlmodel --linear int8 --granularity block:4 n.mlmodel
try -o out.mlmodel --linear uint4 n.mlmodel
# And some that ML programs have not.
try -o out.mlpackage --linear uint3 m.mil
try -o out.mlpackage --linear int8 --mode dynamic m.mil
# Data, sizes and shares.
try -o out.mlpackage --linear int8 --activations int8 m.mil
try -o out.mlpackage --linear int8 --activations int4 --calibrate d.jsonl m.mil
try -o out.mlpackage --linear int8 --calibrate d.jsonl m.mil
try -o out.mlpackage --linear int8 --max-drop 1% m.mil
try -o out.mlpackage --linear int8 --verify d.jsonl --max-drop 2 m.mil
try -o out.mlpackage --linear int8 --target-size 1MB m.mil
try -o out.mlpackage --target-size big m.mil
try -o out.mlpackage --linear int8 --verify missing.jsonl m.mil
try -o out.mlpackage --linear int8 --verify m.mil m.mil
echo '{"x": [1, 2]}' >short.jsonl
try -o out.mlpackage --linear int8 --verify short.jsonl m.mil
# Need a newer opset than the program has.
try -o out.mlpackage --palettize 3 m.mil
try -o out.mlpackage --linear int4 m.mil
try -o out.mlpackage --linear int8 --palettize 4 m.mil
ls
