# needs: mlinspect
# Linear quantization: the ops and weights of the result, and the report.
. "$HERE/model.inc"
program ios15 fp16 >m.mil
mlquantize -v --linear int8 -o out.mlpackage --report report.json m.mil
mlinspect --weights out.mlpackage
mlinspect --validate out.mlpackage
cat report.json
# The other forms.
program ios18 fp32 >n.mil
for options in 'uint8' 'int8 --mode asymmetric' 'uint8 --mode linear --granularity per_tensor' 'int8 --mode linear_symmetric --granularity tensor'; do
  echo "== $options"
  mlquantize --linear $options -o out.mlpackage m.mil
  mlinspect --ops out.mlpackage
  mlquantize --linear $options -o newer.mlpackage n.mil
  mlinspect --weights newer.mlpackage
  mlinspect --validate newer.mlpackage
done
ls
