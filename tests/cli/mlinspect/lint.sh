# Advice, its forms, and the exit status that --fail-on chooses.
cat >m.mil <<'MIL'
program(1.3)
{
    func main<ios17>(tensor<fp16, [10]> x) {
            tensor<fp16, [10]> w = const()[name = string("w"), val = tensor<fp16, [10]>([inf, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
            tensor<fp16, [10]> idle = const()[name = string("idle"), val = tensor<fp16, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
            tensor<fp16, [10]> y = add(x = x, y = w)[name = string("y")];
        } -> (y);
}
MIL
mlinspect --lint m.mil
for level in error warning note never; do mlinspect --lint --fail-on $level m.mil >out && echo "$level: 0" || echo "$level: $?"; done
mlinspect --lint --ignore undocumented-feature --ignore missing-metadata --fail-on note m.mil || echo $?
mlinspect --lint --format github m.mil
mlinspect --lint --json m.mil | grep -c '"rule"'
mlinspect --lint --format sarif -o out.sarif m.mil
grep -E '"(version|ruleId|uri|fullyQualifiedName)"' out.sarif
sed 's/inf, /nan, /' m.mil >nan.mil
mlinspect --lint - <nan.mil | head -n 1 || true
mlinspect --lint nan.mil >out || echo $?
mlinspect --lint --ignore nonsense m.mil || echo $?
mlinspect --format sarif m.mil || echo $?
mlinspect --lint --format xml m.mil || echo $?
