# needs: mlencrypt mlinspect
# Converted and sealed in one step: nothing is ever there in the clear.
mlencrypt keygen -o key.txt 2>/dev/null | sed 's/.*: *//' >recipient.txt
to=$(cat recipient.txt)
echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >m.mil
mlconvert -r "$to" -o m.mlpackage.age m.mil
mlconvert -R recipient.txt -o m.onnx.age m.mil
mlconvert -R recipient.txt --to mil -o - m.mil >m.mil.age
mlconvert -R recipient.txt -o "$PWD/forest.mlmodel.age" "$TESTDATA"/learners/linear.model 2>/dev/null || true
for file in m.mlpackage.age m.onnx.age m.mil.age; do head -c 21 $file; done
mlinspect -i key.txt m.mlpackage.age | head -n 3
mlencrypt -d -i key.txt m.mil.age | head -n 1
mlencrypt -d -i key.txt m.onnx.age | grep -c Relu
status=0
mlinspect m.mlpackage.age || status=$?
echo "$status"
for wrong in '-o m.mlpackage m.mil' '-o sealed.age --check m.mil' '-o m.mlpackage.age -r nobody m.mil'; do
  status=0
  mlconvert -r "$to" $wrong || status=$?
  echo "$status"
done
ls
