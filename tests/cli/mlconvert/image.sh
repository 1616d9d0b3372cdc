# Open axes: a warning and a default, or what --input says; images carry their scaling into the program.
. "$HERE/models.bash"
model image >m.onnx
mlconvert --precision float32 -o - --to mil m.onnx
echo
mlconvert --precision float32 --input image,shape=1x3x8x16,type=image,color=BGR,scale=0.5,bias=1,2,3 --output-name y=mean -o - --to mil m.onnx
echo
