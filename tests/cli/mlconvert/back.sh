# To ONNX and back; a package as text and back. All give the same program.
. "$HERE/models.bash"
model mlp >m.onnx
mlconvert --precision float32 -o m.mlpackage m.onnx
mlconvert -o back.onnx m.mlpackage
mlconvert --precision float32 -o again.mil back.onnx
cat again.mil
echo
mlconvert -o m.mil m.mlpackage
mlconvert -o fromtext.mlpackage m.mil
# Digits that all kernels agree on.
mlpredict --json m.mlpackage x=[1,2,3,4] | sed -E 's/(\.[0-9]{6})[0-9]*/\1/g'
mlpredict --json fromtext.mlpackage x=[1,2,3,4] | sed -E 's/(\.[0-9]{6})[0-9]*/\1/g'
mlconvert -o - --to onnx fromtext.mlpackage | cmp - back.onnx && echo same bytes
