# Metadata of a Core ML model is edited: what is not named stays, an empty value removes; the program stays as it is.
. "$HERE/models.bash"
model mlp >m.onnx
mlconvert --precision float32 --metadata author=Ada --metadata license=MIT --metadata stage=test -o m.mlpackage m.onnx
mlconvert --metadata author=Alan --metadata license= --metadata stage= --metadata description='Two layers' --metadata note=new -o edited.mlpackage m.mlpackage
mlinspect edited.mlpackage | grep -E 'Alan|MIT|Two layers|note|stage'
mlinspect --diff m.mlpackage edited.mlpackage || echo $?
mlconvert --metadata author=Alan -o m.mil m.mlpackage || echo $?
mlconvert --metadata author -o n.mlpackage m.mlpackage || echo $?
ls
