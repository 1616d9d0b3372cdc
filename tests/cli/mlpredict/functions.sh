# --function runs one of several.
cat >two.mil <<'MIL'
program(1.3)
{
    func double<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> y = mul(x = x, y = fp32(2))[name = string("y")];
        } -> (y);
    func half<ios18>(tensor<fp32, [2]> v) {
            tensor<fp32, [2]> y = mul(x = v, y = fp32(0.5))[name = string("y")];
        } -> (y);
}
MIL
mlpredict two.mil --function double x=[1,2]
mlpredict two.mil --function half v=[1,2]
mlpredict two.mil --function half x=[1,2] || echo $?
mlpredict two.mil --function third x=[1,2] || echo $?
mlpredict two.mil x=[1,2] || echo $?
