# Operations that stay in float32 while the rest computes in float16: by kind, by name, by neither.
cp "$TESTDATA/demo/shapes.onnx" .
onnx=shapes.onnx
count() { mlconvert "$@" -o - --to mil "$onnx" | grep -o 'tensor<fp32[^=]*= conv(\|tensor<fp16[^=]*= conv(\|tensor<fp32[^=]*= relu(\|tensor<fp16[^=]*= relu(' | sed 's/tensor<\(fp..\).*= /\1 /' | sort | uniq -c; }
count
count --keep-float32 conv
count --keep-float32 'conv|relu'
count --keep-float32 nothing_like_it
for wrong in '--keep-float32 (' '--keep-float32 conv --precision float32'; do
  status=0
  mlconvert $wrong -o out.mlpackage "$onnx" || status=$?
  echo "$status"
done
ls
