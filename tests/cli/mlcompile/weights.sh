# needs: mlinspect
# Weights are copied as they are, under their own name; a missing file is a warning.
{ printf '\x01\0\0\0\x02\0\0\0'; head -c 56 /dev/zero
  printf '\xef\xbe\xad\xde\x02\0\0\0\x08\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0'; head -c 40 /dev/zero
  printf '\0\0\x80\x3f\0\0\0\xc0'; } >blob
mkdir -p source/weights
mv blob source/weights/w.bin
echo 'program(1.3) { func main<ios18>(tensor<fp32, [2]> x) {
  tensor<fp32, [2]> w = const()[val = tensor<fp32, [2]>(BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
  tensor<fp32, [2]> y = mul(x = x, y = w); } -> (y); }' >source/m.mil
mlcompile --depfile d -o m.mlmodelc source/m.mil
cat d
cmp m.mlmodelc/weights/w.bin source/weights/w.bin
mlinspect --weights m.mlmodelc
grep Precision m.mlmodelc/metadata.json
mlcompile -o - source/m.mil | mlinspect --weights - | tail -n 1
rm source/weights/w.bin
mlcompile -o m.mlmodelc source/m.mil
ls m.mlmodelc
# A record that does not fit is an error.
head -c 100 /dev/zero >source/weights/w.bin
mlcompile -o n.mlmodelc source/m.mil || echo $?
ls -d n.mlmodelc 2>/dev/null || echo none
