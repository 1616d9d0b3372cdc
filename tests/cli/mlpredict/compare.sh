# --compare-with: the first op where two models part, by the names they share.
. "$HERE/models.inc"
. "$HERE/spec.inc"
sed 's/\[1, -1\]/[1.5, -1]/' m.mil >worse.mil
sed 's/fp32(1)/fp32(1.0001)/' m.mil >near.mil
differs() { mlpredict "$@" || echo "exit $?"; }
mlpredict m.mil --compare-with m.mil x=[1,2,3]
differs m.mil --compare-with worse.mil x=[1,2,3]
mlpredict m.mil --compare-with near.mil x=[1,2,3] | tail -n 1
differs m.mil --compare-with near.mil x=[1,2,3] --rtol 0 --atol 1e-5 | tail -n 2
mlpredict m.mil --compare-with worse.mil x=[1,2,3] --rtol 1 | tail -n 1
# Several records; the worst of each value counts.
printf '{"x": [%s]}\n' 0,1,1 0,2,2 2,0,0 >x.jsonl
differs m.mil --compare-with worse.mil --inputs x.jsonl
mlpredict m.mil --compare-with worse.mil --inputs x.jsonl --shard 0/3 | tail -n 1
# float16 in the way that converters name it. Values are kept in float32 unless --strict-fp16 rounds them.
cat >half.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 3]> x) {
            tensor<fp16, [1, 3]> x_to_fp16 = cast(x = x, dtype = string("fp16"))[name = string("x_to_fp16")];
            tensor<fp16, [3, 2]> w = const()[name = string("w"), val = tensor<fp16, [3, 2]>([[1, -1], [2, -2], [3, -3]])];
            tensor<fp16, [1, 2]> p_cast_fp16 = matmul(x = x_to_fp16, y = w)[name = string("p_cast_fp16")];
            tensor<fp16, [1, 2]> y_cast_fp16 = relu(x = p_cast_fp16)[name = string("y_cast_fp16")];
            tensor<fp32, [1, 2]> y = cast(x = y_cast_fp16, dtype = string("fp32"))[name = string("y")];
            tensor<fp16, [1, 2]> z_cast_fp16 = add(x = y_cast_fp16, y = fp16(1))[name = string("z_cast_fp16")];
            tensor<fp32, [1, 2]> z = cast(x = z_cast_fp16, dtype = string("fp32"))[name = string("z")];
        } -> (y, z);
}
MIL
mlpredict m.mil --compare-with half.mil x=[0.1,0.2,0.3]
mlpredict m.mil --compare-with half.mil x=[20000,20000,20000] | tail -n 1
differs m.mil --compare-with half.mil x=[20000,20000,20000] --strict-fp16
# Nothing shared; other shapes; other outputs; models without operations; networks.
cat >other.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 3]> x) {
            tensor<fp32, [1, 3]> q = mul(x = x, y = fp32(2))[name = string("q")];
        } -> (q);
}
MIL
differs m.mil --compare-with other.mil x=[1,2,3]
sed 's/ q / p /; s/(q)/(p)/; s/"q"/"p"/' other.mil >shape.mil
differs m.mil --compare-with shape.mil x=[1,2,3]
mlpredict price.mlmodel --compare-with price.mlmodel rooms=1 area=2
mlpredict which.mlmodel --compare-with which.mlmodel a=1 b=2
mlpredict relu.mlmodel --compare-with relu.mlmodel x=[1,-2]
differs m.mil --compare-with worse.mil x=[1,2,3] --json
differs m.mil --compare-with none.mil x=[1,2,3]
differs m.mil --compare-with rows.mil x=[1,2,3]
for option in "--outputs y.npz" "--expect y.npz" "--top-k 3" "--dump-intermediates d" "--state-in s" "--state-out s" "--on-error record"; do
  differs m.mil --compare-with m.mil x=[1,2,3] $option
done
# A mask is minus infinity in the words of its type.
cat >mask.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> s = add(x = x, y = tensor<fp32, [2]>([0, -1e9]))[name = string("s")];
            tensor<fp32, [2]> y = softmax(x = s, axis = int32(0))[name = string("y")];
        } -> (y);
}
MIL
sed 's/-1e9/-65504/' mask.mil >mask16.mil
mlpredict mask.mil --compare-with mask16.mil x=[1,2]
