# An input and the output that replaces it become a state, kept from one prediction to the next.
. "$HERE/models.bash"
model cache >m.onnx
mlconvert --precision float32 --state past_k=present_k -o m.mlpackage m.onnx
mlinspect --mil m.mlpackage | grep -E 'main|_state|->'
one='{"x": [[[1,1,1,1,1,1,1,1],[0,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,2]]]}'
printf '%s\n%s\n' "$one" "$one" | mlpredict m.mlpackage --inputs - --json
mlconvert --state past_k=y -o n.mlpackage m.onnx || echo $?
mlconvert --state past_k=present -o n.mlpackage m.onnx || echo $?
mlconvert --state past_k -o n.mlpackage m.onnx || echo $?
mlconvert --target iOS17 --state past_k=present_k -o n.mlpackage m.onnx || echo $?
mlconvert --state past_k=present_k -o n.onnx m.mlpackage || echo $?
ls
