# needs: mlinspect
# An archive is the same files; it goes through pipes, and so does the source.
echo 'program(1.0) { func main<ios16>(tensor<fp16, [3]> x) { tensor<fp16, [3]> y = relu(x = x); } -> (y); }' >relu.mil
mlcompile -o relu.mlarchive relu.mil
mlcompile --archive -o relu.zip relu.mil
cmp relu.mlarchive relu.zip
mlcompile -o - relu.mil | cmp - relu.mlarchive
mlcompile -o relu.mlmodelc - <relu.mil
mlinspect --mil relu.mlarchive >a
mlinspect --mil relu.mlmodelc >b
cmp a b
sed 2d a
# The class is named after the source, and after the output when that comes through a pipe.
mlinspect --metadata relu.mlarchive | grep ClassName
grep ClassName relu.mlmodelc/metadata.json
mlcompile -o - - <relu.mil | mlinspect - | head -n 3
