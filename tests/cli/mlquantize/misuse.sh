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
# In later versions.
try -o out.mlpackage --linear int4 m.mil
try -o out.mlpackage --linear int8 --granularity block:32 m.mil
try -o out.mlpackage --linear int8 --palettize 4 m.mil
try -o out.mlpackage --prune 0.5 --group 16 --vector 2 m.mil
try -o out.mlpackage --config c.json --verify d --target-size 1M --max-drop 1 m.mil
# Needs a newer opset than the program has.
try -o out.mlpackage --palettize 3 m.mil
ls
