# needs: mlinspect
# Every other form of an ML program's weights: four bits, blocks, groups, vectors, zeros, and several at once.
. "$HERE/model.inc"
program ios18 fp16 >m.mil
for options in '--linear int4 --granularity block:10' '--linear uint4 --mode asymmetric' '--linear int8 --granularity block:10x25' \
  '--palettize 4 --group 10' '--palettize 3 --vector 2 --group 10' '--palettize 2 --channel-scale' '--palettize 4 --mode uniform' '--palettize unique' \
  '--prune 0.5' '--prune threshold=0.3,min=0.1' '--prune 0.6 --linear int8' '--prune 0.6 --palettize 4' '--palettize 6 --linear int8 --mode kmeans,asymmetric' \
  '--prune 0.5 --palettize 4 --channel-scale --linear int8'; do
  echo "== $options"
  mlquantize $options -o out.mlpackage --report - m.mil | grep -E '"(form|bytes_after)"' | head -n 2
  mlinspect --validate out.mlpackage
  mlinspect --ops out.mlpackage | grep constexpr
  for threads in 1 3; do mlquantize --threads $threads $options -o $threads.zip.mlpackage m.mil; done
  diff -r 1.zip.mlpackage 3.zip.mlpackage
  # What comes back can be compressed no further: it has the values the compressed weights stand for.
  mlquantize --decompress -o plain.mlpackage out.mlpackage
  mlinspect --weights plain.mlpackage | grep -c fp16
done
# A table of one's own.
{
  printf '\x93NUMPY\x01\x00\x46\x00'
  printf '%-69s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }"
  printf '\0\0\x80\xbf\0\0\0\0\0\0\0\x3f\0\0\x80\x3f'
} >table.npy
mlquantize --palettize custom --table table.npy -o out.mlpackage --report - m.mil | grep '"form"' | head -n 1
# Patterns are for conv and linear; these are products.
mlquantize --prune 2:4 -o none.mlpackage m.mil
# Older opsets have some of it, and say what they lack.
program ios16 fp16 >old.mil
mlquantize --prune 0.5 -o out.mlpackage old.mil
mlinspect --ops out.mlpackage | grep constexpr
mlquantize --prune 0.5 --linear int8 -o none.mlpackage old.mil || echo $?
mlquantize -v --prune 0.5 --linear int4 --granularity block:25 --target iOS18 -o out.mlpackage old.mil
