# Drawings: every operation in a small model, joined ones in a large one; names that mean something to XML and dot.
cat >m.mil <<'MIL'
program(1.3)
{
    func main<ios17>(tensor<fp32, [4]> x) {
            tensor<fp32, [4]> a = relu(x = x)[name = string("a<b>&\"'")];
            tensor<fp32, [4]> b = tanh(x = x)[name = string("b")];
            tensor<fp32, [4]> y = add(x = a, y = b)[name = string("y")];
        } -> (y);
}
MIL
mlinspect --graph dot m.mil
mlinspect --graph svg -o m.svg m.mil
grep -c 'class="node"' m.svg
grep -c '<path d="M.*marker-end' m.svg
grep -o '&lt;b&gt;&amp;.*</text>' m.svg | sed 's/<.text>.*//'
{
  echo 'program(1.3) { func main<ios17>(tensor<fp32, [4]> v0) {'
  for i in $(seq 1 400); do echo "tensor<fp32, [4]> v$i = relu(x = v$((i - 1)))[name = string(\"layer_$((i / 20))_relu_$i\")];"; done
  echo '} -> (v400); }'
} >large.mil
mlinspect --graph dot --max-nodes 30 large.mil | grep -c label
mlinspect --graph dot --max-nodes 30 large.mil | grep 'layer_7'
mlinspect --graph dot --max-nodes 0 large.mil | grep -c label
mlinspect --graph png m.mil || echo $?
mlinspect --max-nodes 3 m.mil || echo $?
mlinspect --json --graph dot m.mil || echo $?
