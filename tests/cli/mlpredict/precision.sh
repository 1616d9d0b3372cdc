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
# The first op is named; later ones with -v. Ops of a loop's body, too, and of what is computed before the run.
cat >late.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp16, [2]> x) {
            tensor<fp16, [2]> a = mul(x = x, y = fp16(3))[name = string("a")];
            tensor<fp16, [2]> b = sub(x = a, y = a)[name = string("b")];
            tensor<fp16, [2]> c = exp(x = b)[name = string("c")];
        } -> (c);
}
MIL
mlpredict late.mil x=[30000,40000] --strict-fp16 --json
mlpredict late.mil x=[30000,40000] --strict-fp16 --json -v
cat >cond.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp16, [2]> x) {
            fp16 big = mul(x = fp16(300), y = fp16(300))[name = string("big")];
            fp16 s = reduce_sum(x = x, keep_dims = bool(false))[name = string("s")];
            bool p = greater(x = s, y = fp16(0))[name = string("p")];
            tensor<fp16, [2]> y = cond(pred = p)[name = string("y")] {
                block() {
                    tensor<fp16, [2]> up = mul(x = x, y = fp16(60000))[name = string("up")];
                } -> (up);
                block() {
                    tensor<fp16, [2]> down = add(x = x, y = big)[name = string("down")];
                } -> (down);
            };
        } -> (y);
}
MIL
mlpredict cond.mil x=[1,2] --strict-fp16 --json -v
mlpredict cond.mil x=[-1,-2] --strict-fp16 --json -v
# Operands of products in bfloat16, by request: 1 + 2^-8 becomes 1.
mlpredict m.mil x=[1.00390625,2,3] --json
mlpredict m.mil x=[1.00390625,2,3] --bf16 never --json
mlpredict m.mil x=[1.00390625,2,3] --bf16 always --json
mlpredict m.mil x=[1,2,3] --bf16 always --reference || echo status $?
mlpredict m.mil x=[1,2,3] --bf16 seldom || echo status $?
