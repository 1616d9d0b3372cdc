# needs: mlinspect mlpredict
# Neural networks keep their weights in their own fields.
. "$HERE/model.inc"
network >n.mlmodel
mlinspect --validate n.mlmodel
stat -c %s n.mlmodel
ones="[$(printf '1,%.0s' {1..59})1]"
mlpredict n.mlmodel x="$ones" --outputs expected.jsonl
for options in '--linear int8' '--linear uint4 --mode asymmetric' '--palettize 5 --mode uniform' '--palettize unique' '--linear uint8 --mode asymmetric --granularity tensor' '--palettize 2' '--palettize 3' '--float16'; do
  echo "== $options"
  mlquantize $options -o out.mlmodel n.mlmodel
  stat -c %s out.mlmodel
  mlinspect --validate out.mlmodel
  mlinspect --weights out.mlmodel
  mlpredict out.mlmodel x="$ones" --expect expected.jsonl --atol 0.2 | sed 's/max.*//'
  mlquantize $options -o - - <n.mlmodel | cmp - out.mlmodel
  mlquantize -q --decompress -o back.mlmodel out.mlmodel
  stat -c %s back.mlmodel
  mlpredict back.mlmodel x="$ones" --expect expected.jsonl --atol 0.2 | sed 's/max.*//'
done
# Into a package.
mlquantize --palettize 2 -o out.mlpackage n.mlmodel
mlinspect out.mlpackage | head -n 3
mlquantize -v --palettize 2 --only dense/bias -o none.mlmodel n.mlmodel
# Products of int8 with activations quantized at run time: not in networks as old as this one.
mlquantize --linear int8 --mode dynamic -o dynamic.mlmodel n.mlmodel || echo $?
