# needs: mlcompile mlpredict mlinspect
# With siblings: compiled and answered as before, with any stage in a file.
. "$HERE/model.inc"
program ios16 fp32 >m.mil
ones="[[$(printf '1,%.0s' {1..49})1]]"
mlcompile -o m.mlmodelc m.mil
mlpredict m.mlmodelc x="$ones" --outputs expected.jsonl
mlquantize - --palettize 6 -o - <m.mil | mlcompile - -o q.mlmodelc
mlpredict q.mlmodelc x="$ones" --expect expected.jsonl --rtol 0.01 --atol 0.5 | sed 's,max.*,,'
mlquantize --palettize 6 -o q.mlpackage m.mil
mlcompile -o p.mlmodelc q.mlpackage
mlinspect --mil q.mlmodelc | sed 2d | cmp - <(mlinspect --mil p.mlmodelc | sed 2d)
cmp q.mlmodelc/weights/weight.bin p.mlmodelc/weights/weight.bin
# A compiled program is a source, too.
mlquantize --palettize 6 -o - m.mlmodelc | mlinspect --ops -
