# What a build would write again as it is stays untouched; what differs does not.
mil() { echo "program(1.0) { func main<ios16>(fp16 x) { fp16 y = $1(x = x); } -> (y); }"; }
mil relu >m.mil
mlcompile --depfile m.d -o m.mlarchive m.mil
mlcompile -o m.mlmodelc m.mil
touch -d 2001-01-01 m.mlarchive m.mlmodelc m.d
mlcompile --depfile m.d -o m.mlarchive m.mil
mlcompile -v -o m.mlmodelc m.mil
find m.mlarchive m.mlmodelc m.d -maxdepth 0 -newermt 2002-01-01
mil tanh >m.mil
mlcompile --depfile m.d -o m.mlarchive m.mil
mlcompile -o m.mlmodelc m.mil
find m.mlarchive m.mlmodelc m.d -maxdepth 0 -newermt 2002-01-01
# A file too many is a difference.
touch m.mlmodelc/extra
mlcompile -o m.mlmodelc m.mil
ls m.mlmodelc
