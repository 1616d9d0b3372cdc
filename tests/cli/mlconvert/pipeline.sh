# From a source to a compiled model without files in between.
# needs: mlcompile
. "$HERE/models.bash"
model mlp | mlconvert -o - - | mlcompile -o m.mlmodelc -
(cd m.mlmodelc && find . -type f | sort)
grep -c 'linear(' m.mlmodelc/model.mil
