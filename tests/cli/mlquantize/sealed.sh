# needs: mlencrypt mlinspect
# A sealed model is opened in memory, given its key.
. "$HERE/model.inc"
program ios16 fp16 >m.mil
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.mil
mlquantize --palettize 4 -o out.mlpackage m.age || echo $?
mlquantize --palettize 4 -i key -o - m.age | cmp - <(mlquantize --palettize 4 -o - m.mil)
mlquantize --palettize 4 -o - m.mil | mlencrypt -r "$recipient" | mlinspect -i key --ops -
ls
