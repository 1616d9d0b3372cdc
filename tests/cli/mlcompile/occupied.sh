# A directory that is no compiled model is not replaced; neither is a file.
echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >m.mil
mkdir full.mlmodelc empty.mlmodelc
echo precious >full.mlmodelc/letter
echo precious >file.mlmodelc
mlcompile -o full.mlmodelc m.mil || echo $?
mlcompile -o file.mlmodelc m.mil || echo $?
mlcompile -o nowhere/m.mlmodelc m.mil || echo $?
mlcompile -o empty.mlmodelc m.mil
ls full.mlmodelc empty.mlmodelc
cat file.mlmodelc
