# needs: mlinspect
# Palettes, in files and in pipes, at any number of threads: the same bytes.
. "$HERE/model.inc"
program ios16 fp16 >m.mil
for bits in 1 2 4 6 8; do
  mlquantize --palettize $bits -o out.mlpackage --report - m.mil | grep -E '"(form|psnr_db|bytes_after)"' | head -n 3
  mlinspect --validate out.mlpackage
done
mlquantize --palettize 4 -o - m.mil >a.zip
for threads in 1 2 7; do mlquantize --threads $threads --palettize 4 -o - - <m.mil | cmp - a.zip; done
mlquantize - --palettize 4 -o - <m.mil | mlinspect - --weights
mlquantize - --palettize 4 -o - <m.mil | mlinspect - --json | grep '"container"'
# A palette already: nothing to do.
mlquantize --palettize 2 -o again.mlpackage a.zip
mlquantize - --decompress -o - <a.zip | mlquantize - --palettize 4 -o - | mlinspect --ops -
# Three bits need opset CoreML8.
mlquantize -v --palettize 3 --target iOS18 -o three.mlpackage m.mil
mlinspect --weights three.mlpackage
