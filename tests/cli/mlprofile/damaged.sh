# Damaged and missing models, inputs that do not fit, and outputs that cannot be written.
. "$HERE/../mlpredict/models.inc"
for file in truncated.mlmodel onnx.mlmodel sealed.age newer.mlpackage; do
  mlprofile "$TESTDATA/bad-models/$file" 2>/dev/null || echo "$?: $file"
done
mlprofile absent.mlmodel || echo $?
mlprofile m.mil x=[1,2] || echo $?
mlprofile m.mil --function other || echo $?
mlprofile m.mil --runs 1 >/dev/full || echo $?
mlprofile -q m.mil --runs 1 --csv /dev/full >/dev/null || echo $?
mlprofile m.mil --runs 1 --csv absent/ops.csv || echo $?
ls
