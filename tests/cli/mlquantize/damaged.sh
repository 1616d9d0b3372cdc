# Missing, damaged and unsuitable models: exit 3 or 4, and no output.
. "$HERE/model.inc"
try() { mlquantize --linear int8 -o out.mlpackage "$@" || echo $?; ls -d out* 2>/dev/null || true; }
try missing.mlmodel
printf 'not a model' >junk
try junk
: >empty
try empty
try - <empty
echo 'program(1.3) { func main<ios18>(fp32 x) {' >cut.mil
try cut.mil
# A weight file that is not there.
mkdir source
echo 'program(1.3) { func main<ios18>(tensor<fp32, [30]> x) {
  tensor<fp32, [30]> w = const()[val = tensor<fp32, [30]>(BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
  tensor<fp32, [30]> y = mul(x = x, y = w); } -> (y); }' >source/m.mil
try source/m.mil
# No weights in such a model (identity).
printf '\x08\x01\x12\x00\xa2\x38\x00' >identity.mlmodel
try identity.mlmodel
mlquantize --linear int8 -o out.mlmodel identity.mlmodel || echo $?
network | head -c 2000 >cut.mlmodel
try cut.mlmodel
# In the way.
program ios16 fp16 >m.mil
mkdir full.mlpackage
echo precious >full.mlpackage/letter
mlquantize --linear int8 -o full.mlpackage m.mil || echo $?
ls full.mlpackage
mlquantize --linear int8 -o nowhere/out.mlpackage m.mil || echo $?
if [ -e /dev/full ]; then mlquantize --linear int8 -o - m.mil >/dev/full || echo $?; fi
