# needs: mlconvert mlcompile mlquantize
# '-' both ways, and siblings in front: a package, a compiled model and text through a pipe answer the same.
. "$HERE/models.inc"
mlpredict - x=[1,2,3] <m.mil
mlpredict - x=[1,2,3] --outputs - <m.mil
mlpredict m.mil --inputs - --json <<<'{"x": [1, 2, 3]}'
mlcompile -o - m.mil | mlpredict - x=[1,2,3] --json
onnx=$TESTDATA/demo/shapes.onnx star=$TESTDATA/demo/images/star-00.png
spec=image,type=image,color=RGB,scale=0.00392156862745098
mlconvert "$onnx" -o m.mlpackage --input $spec
mlpredict m.mlpackage image=@"$star" --json >y.jsonl
mlconvert "$onnx" -o - --input $spec | mlpredict - image=@"$star" --json | cmp - y.jsonl
mlconvert "$onnx" -o - --input $spec | mlcompile - -o - | mlpredict - image=@"$star" --expect y.jsonl >/dev/null
# JSON lines are answered as they come: the second is asked only when the first is answered.
coproc mlpredict m.mil --inputs - --json
echo '{"x": [1, 2, 3]}' >&${COPROC[1]}
read -r -t 60 first <&${COPROC[0]} && echo "$first"
echo '{"x": [0, 0, 0]}' >&${COPROC[1]}
read -r -t 60 second <&${COPROC[0]} && echo "$second"
