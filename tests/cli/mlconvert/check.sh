# --check lists all that cannot be converted, not the first; a conversion says the same.
. "$HERE/models.bash"
model mlp >m.onnx
model odd >odd.onnx
mlconvert --check m.onnx
mlconvert --check --json m.onnx
mlconvert --check odd.onnx || echo $?
mlconvert --check --json odd.onnx || echo $?
mlconvert -o out.mlpackage odd.onnx || echo $?
[ "$(mlconvert --list-ops | grep -c .)" -gt 200 ] && echo many
mlconvert --list-ops | grep '	Conv	'
ls
