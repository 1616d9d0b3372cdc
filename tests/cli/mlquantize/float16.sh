# needs: mlinspect
# Half-precision storage, and back.
. "$HERE/model.inc"
program ios16 fp32 >m.mil
mlquantize -v --float16 -o half.mlpackage m.mil
mlinspect --weights half.mlpackage
mlquantize -v --decompress -o full.mlpackage half.mlpackage
mlinspect --weights full.mlpackage
mlquantize -q --float16 -o again.mlpackage half.mlpackage
# These values fit: what comes back is what went in.
mlinspect --weight w2_to_fp16 -o back.npy full.mlpackage
mlinspect --weight w2 -o original.npy m.mil
cmp back.npy original.npy
