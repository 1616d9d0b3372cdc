# The program as text: float32, then float16; stages can be looked at.
. "$HERE/models.bash"
model mlp | mlconvert --precision float32 -o - --to mil -
echo
model mlp >m.onnx
mlconvert -o m.mil m.onnx
cat m.mil
echo
mlconvert --stop-after lower -o - m.onnx
