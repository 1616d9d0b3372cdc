# Two programs compared: an operation put in, one changed, another name, weights moved, a small constant, metadata.
model() {  # strides, extra operation, name of the first output, a weight's first value
  cat <<MIL
program(1.3)
{
    func main<ios17>(tensor<fp32, [1, 1, 6, 6]> x) {
            tensor<fp32, [1, 1, 3, 4]> w = const()[name = string("w"), val = tensor<fp32, [1, 1, 3, 4]>([[[[$4, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]]])];
            string pad_type = const()[name = string("pad_type"), val = string("valid")];
            tensor<int32, [2]> strides = const()[name = string("strides"), val = tensor<int32, [2]>([1, $1])];
            tensor<int32, [4]> pad = const()[name = string("pad"), val = tensor<int32, [4]>([0, 0, 0, 0])];
            tensor<int32, [2]> dilations = const()[name = string("dilations"), val = tensor<int32, [2]>([1, 1])];
            int32 groups = const()[name = string("groups"), val = int32(1)];
            tensor<fp32, [1, 1, 4, 3]> $3 = conv(dilations = dilations, groups = groups, pad = pad, pad_type = pad_type, strides = strides, weight = w, x = x)[name = string("$3")];
            $2
            tensor<fp32, [1, 1, 4, 3]> out = tanh(x = ${5:-$3})[name = string("out")];
        } -> (out);
}
MIL
}
model 1 '' c 1 >a.mil
model 1 '' d 1 >renamed.mil
model 1 'tensor<fp32, [1, 1, 4, 3]> r = relu(x = c)[name = string("r")];' c 1.5 r >b.mil
mlinspect --diff a.mil a.mil
mlinspect --diff a.mil renamed.mil
mlinspect --diff a.mil b.mil || echo $?
mlinspect --diff b.mil a.mil || echo $?
model 2 '' c 1 | sed 's/fp32, \[1, 1, 4, 3\]/fp32, [1, 1, 4, 2]/' >c.mil
mlinspect --diff - c.mil <a.mil || echo $?
mlinspect --json --diff a.mil b.mil >diff.json || echo $?
grep -E '"(same|change|operation|max|relative|changed)"' diff.json
# Containers do not matter; what was quantized shows its distance.
. "$HERE/../mlpredict/models.inc"
mlcompile m.mil -o m.mlmodelc 2>/dev/null && mlinspect --diff m.mil m.mlmodelc | sed 1d
mlinspect --diff missing.mil a.mil || echo $?
mlinspect --diff a.mil --ops a.mil || echo $?
# A change of type in every operation is told once.
chain() {
  echo "program(1.3) { func main<ios17>(tensor<$1, [4]> v0) {"
  for i in $(seq 1 9); do echo "tensor<$1, [4]> v$i = relu(x = v$((i - 1)))[name = string(\"v$i\")];"; done
  echo '} -> (v9); }'
}
chain fp32 >single.mil && chain fp16 >half.mil
mlinspect --diff single.mil half.mil || echo $?
