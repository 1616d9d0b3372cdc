# Missing, empty, foreign and cut sources: exit 3, and nothing is written.
. "$HERE/models.bash"
try() { mlconvert "$@" || echo "$?"; }
model mlp >m.onnx
: >empty.onnx
echo 'program(1.0)' >text.onnx
head -c 100 m.onnx >cut.onnx
try -o out.mlpackage none.onnx
try -o out.mlpackage empty.onnx
try -o out.mlpackage text.onnx
try -o out.mlpackage cut.onnx
try -o out.mlpackage --from onnx text.onnx
ls
