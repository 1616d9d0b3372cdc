# Class labels make a classifier of strings, or of integers.
. "$HERE/models.bash"
model mlp >m.onnx
printf 'cat\r\ndog\nmouse\n' >labels
mlconvert --class-labels labels --precision float32 -o - --to mil m.onnx | grep -E 'classes|classify|->'
printf '3\n1\n2\n' >numbers
mlconvert --class-labels numbers --precision float32 -o - --to mil m.onnx | grep -E 'classes|classify|->'
printf 'cat\n' >few
mlconvert --class-labels few -o out.mlpackage m.onnx || echo $?
mlconvert --class-labels none -o out.mlpackage m.onnx || echo $?
ls
