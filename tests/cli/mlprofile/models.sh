# needs: mlconvert mlencrypt
# Models that are not programs, sealed ones, and made-up inputs of every kind.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
. "$HERE/../mlpredict/spec.inc"
for model in m.mil sum.mil rows.mil relu.mlmodel price.mlmodel which.mlmodel; do
  mlprofile $model --runs 1 --json >p.json
  if grep -q '"kernel"' p.json; then echo "$model: operations"; else echo "$model: no operations"; fi
done
mlconvert "$TESTDATA/demo/shapes.onnx" -o - --input image,type=image,color=RGB | mlprofile - --runs 1 --json >p.json
grep -q '"kernel"' p.json && echo "from a pipe: operations"
mlprofile sum.mil x=[1,2] --runs 1 --json >p.json
grep -q '"kernel": "state"' p.json && echo "states"
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.mil
mlprofile -i key m.age --runs 1 --json | grep '"model"'
mlprofile m.age || echo $?
