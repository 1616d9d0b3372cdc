# needs: mlinspect mlpredict
# Activations in eight bits: pairs of quantize and dequantize, with ranges from data; the result runs.
cat >m.mil <<'END'
program(1.3) { func main<ios17>(tensor<fp32, [2, 8]> x) {
  tensor<fp32, [4, 8]> w = const()[name = string("w"), val = tensor<fp32, [4, 8]>([[1, 2, 3, 4, 5, 6, 7, 8], [-1, 0, 1, 0, -1, 0, 1, 0], [2, 2, 2, 2, 2, 2, 2, 2], [0, 1, 0, -1, 0, 1, 0, -1]])];
  tensor<fp32, [2, 4]> a = linear(weight = w, x = x)[name = string("first")];
  tensor<fp32, [2, 4]> b = relu(x = a)[name = string("second")];
  tensor<fp32, [2, 4]> y = add(x = a, y = b)[name = string("third")]; } -> (y); }
END
echo '{"x": [[0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8], [1, 0.5, 0.25, 0.125, 0, -0.125, -0.25, -0.5]]}
{"x": [[1, 1, 1, 1, 1, 1, 1, 1], [-1, -1, -1, -1, -1, -1, -1, -1]]}' >data.jsonl
for options in int8 'int8,asymmetric --observer percentile' 'uint8 --observer mse'; do
  echo "== $options"
  mlquantize -v --activations $options --calibrate data.jsonl --verify data.jsonl --report r.json -o out.mlpackage m.mil
  grep -A 16 '"activations"' r.json | grep -E '"(name|low|high)"'
  mlinspect --validate out.mlpackage
  mlinspect --ops out.mlpackage
done
mlinspect --mil out.mlpackage | grep -c 'output_dtype'
echo == with weights
mlquantize -v --linear int8 --min-elements 0 --activations int8 --calibrate data.jsonl --verify data.jsonl --max-drop 2% -o w8a8.mlpackage m.mil
mlpredict w8a8.mlpackage --inputs data.jsonl
echo == only some ops
mlquantize --activations int8 --calibrate data.jsonl --skip third -o some.mlpackage m.mil
mlinspect --ops some.mlpackage | grep quantize
echo == older opsets lack the operations
sed s/ios17/ios16/ m.mil >old.mil
mlquantize --activations int8 --calibrate data.jsonl -o none.mlpackage old.mil || echo $?
mlquantize -v --target iOS17 --activations int8 --calibrate data.jsonl -o raised.mlpackage old.mil
. "$HERE/model.inc"
network >n.mlmodel
ones="[$(printf '1,%.0s' {1..59})1]"
echo "{\"x\": $ones}" >n.jsonl
mlquantize --activations int8 --calibrate n.jsonl -o none.mlmodel n.mlmodel || echo $?
ls -d none* 2>/dev/null || true
