# Wrong usage: exit 2. Foreseen but absent: exit 4. Nothing is written.
. "$HERE/models.bash"
try() { mlconvert "$@" || echo "$?"; }
model mlp >m.onnx
mkdir full.mlpackage && touch full.mlpackage/mine
try
try m.onnx
try -o out.onnx m.onnx
try -o out.mlmodel m.onnx
try -o full.mlpackage m.onnx
try --to onnx -o out m.onnx
try --target iOS13 -o out.mlpackage m.onnx
try --target Linux -o out.mlpackage m.onnx
try --input y,shape=1x4 -o out.mlpackage m.onnx
try --input x,shape=2x4 -o out.mlpackage m.onnx
try --input x,colour=RGB -o out.mlpackage m.onnx
try --input x,type=image -o out.mlpackage m.onnx
try --metadata author -o out.mlpackage m.onnx
try --passes no_such -o out.mlpackage m.onnx
try --stop-after no_such -o out.mil m.onnx
try --stop-after lower -o out.mlpackage m.onnx
try --probabilities probs -o out.mlpackage m.onnx
try --json -o out.mlpackage m.onnx
try -o m.onnx --to mil m.onnx
try --opset 17 -o out.mlpackage m.onnx
mlconvert -o m.mlpackage m.onnx
try --opset 12 -o out.onnx m.mlpackage
try --target iOS17 --metadata author=me -o out.onnx m.mlpackage
try --to mlmodel -o out.mlmodel m.mlpackage
rm -r m.mlpackage
ls
