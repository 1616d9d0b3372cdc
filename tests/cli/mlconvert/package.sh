# A package directory, equal bytes each time; the same as a zip on a pipe.
. "$HERE/models.bash"
model mlp >m.onnx
mlconvert -o a.mlpackage --metadata author=someone --metadata license=MIT --metadata origin=test m.onnx
mlconvert -o b.mlpackage --metadata author=someone --metadata license=MIT --metadata origin=test - <m.onnx
diff -r a.mlpackage b.mlpackage
(cd a.mlpackage && find . -type f | sort)
mlconvert -o a.mlpackage --precision float32 m.onnx # replaced
mlconvert -o - m.onnx >m.zip
head -c 2 m.zip
echo
