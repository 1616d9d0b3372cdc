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
# Sealed output: an archive for the recipients.
mlcompile -i key m.age -r "$recipient" -o out.age 2>/dev/null || mlcompile m.mil -r "$recipient" -o out.age
mlencrypt inspect out.age | head -n 2
mlinspect -i key out.age --metadata | head -n 3
