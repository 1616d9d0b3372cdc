# needs: mlconvert mlquantize mlcompile mlpredict
# One pipeline, and the same with a file at every stage: the same bytes.
mkdir piped filed # the class that a model generates has the name of its file, which a pipe has not
onnx=$TESTDATA/demo/shapes.onnx star=$TESTDATA/demo/images/star-00.png
spec=image,type=image,color=RGB,scale=0.00392156862745098
mlconvert "$onnx" --input $spec -o - | mlquantize - --palettize 4 -o - | mlcompile - -o piped/m.mlmodelc && mlpredict piped/m.mlmodelc image=@"$star" --json >piped.jsonl
mlconvert "$onnx" --input $spec -o a.mlpackage
mlquantize a.mlpackage --palettize 4 -o m.mlpackage
mlcompile m.mlpackage -o filed/m.mlmodelc
mlpredict filed/m.mlmodelc image=@"$star" --json >filed.jsonl
diff -r piped filed && cmp piped.jsonl filed.jsonl && echo same
# In memory all the way to the answer, and once more on one thread.
mlconvert "$onnx" --input $spec -o - | mlquantize - --palettize 4 --threads 1 -o - | mlcompile - -o - | mlpredict - --threads 1 image=@"$star" --json | cmp - filed.jsonl && echo same
# The archive of a package in a pipe is the package.
mlconvert "$onnx" --input $spec -o - | mlquantize - --palettize 4 -o c.mlpackage && diff -r m.mlpackage c.mlpackage && echo same
