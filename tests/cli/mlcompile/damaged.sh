# Missing, damaged and unsupported sources: exit 3 or 4, and no output.
try() { mlcompile -o out.mlmodelc "$@" || echo $?; ls -d out* 2>/dev/null || true; }
try missing.mlmodel
printf 'not a model' >junk
try junk
: >empty
try empty
echo 'program(1.3) { func main<ios18>(fp32 x) { fp32 y = relu(x = z); } -> (y); }' >undefined.mil
try undefined.mil
echo 'program(1.3) { func main<ios18>(fp32 x) {' >cut.mil
try cut.mil
echo 'program(1.3) { func main<ios18>(bool x, list<fp32, ?> l) { } -> (x); }' >types.mil
try types.mil
mkdir not-a-package
try not-a-package
# A neural network (specification 1, no layers), and a pipeline of two.
network='\x08\x01\x12\x00\xa2\x1f\x00'
printf $network >network.mlmodel
try network.mlmodel
printf '\x08\x01\x12\x00\xd2\x0c\x12\x0a\x07'$network'\x0a\x07'$network >pipeline.mlmodel
try pipeline.mlmodel
