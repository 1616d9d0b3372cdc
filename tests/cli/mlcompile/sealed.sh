# needs: mlencrypt mlinspect
# A sealed model is opened in memory, given its key.
echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >m.mil
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.mil
mlcompile -o sealed.mlarchive m.age || echo $?
mlcompile -i key -o sealed.mlarchive m.age
mlcompile -o plain.mlarchive m.mil
mlinspect --mil sealed.mlarchive | cmp - <(mlinspect --mil plain.mlarchive)
ls
