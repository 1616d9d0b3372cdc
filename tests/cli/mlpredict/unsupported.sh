# What cannot be run is listed in full, exit 4.
cat >m.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x) {
            tensor<fp32, [2]> a = frobnicate(x = x)[name = string("a")];
            tensor<fp32, [2]> b = frobnicate(x = a)[name = string("b")];
            tensor<fp32, [2]> y = transmogrify(x = b)[name = string("y")];
        } -> (y);
}
MIL
mlpredict m.mil x=[1,2] || echo $?
# More memory than there can be: exit 5, before any is taken.
cat >huge.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [1]> x) {
            tensor<fp32, [100000000000]> a = tile(x = x, reps = tensor<int32, [1]>([1000000000]))[name = string("a")];
            tensor<fp32, [1]> y = reduce_max(x = a, axes = tensor<int32, [1]>([0]), keep_dims = bool(true))[name = string("y")];
        } -> (y);
}
MIL
mlpredict huge.mil x=[1] >out 2>&1 || [ $? = 3 ] || [ $? = 5 ] && echo refused
