# --strict-fp16 rounds as float16 hardware would, and says where that goes wrong.
. "$HERE/models.inc"
mlpredict sum.mil x=[70000,1] --json
mlpredict sum.mil x=[70000,1] --strict-fp16 --json
mlpredict sum.mil x=[70000,1] --strict-fp16 --json -q
cat >half.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp16, [2]> x) {
            tensor<fp16, [2]> a = mul(x = x, y = fp16(3))[name = string("a")];
            tensor<fp16, [2]> y = sub(x = a, y = x)[name = string("y")];
        } -> (y);
}
MIL
mlpredict half.mil x=[1.0009765625,30000] --json
mlpredict half.mil x=[1.0009765625,30000] --strict-fp16 --json
