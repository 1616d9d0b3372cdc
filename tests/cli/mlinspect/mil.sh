# needs: mlcompile
# MIL text reads back to itself, through a compiled model too.
. "$HERE/model.inc"
mlinspect --mil m.mil >once
cat once
mlinspect --mil - <once | cmp - once
mlcompile -o m.mlmodelc m.mil
mlinspect --mil m.mlmodelc | sed 2d | cmp - <(sed 2d once)
# The text parses back to an equal program.
mlinspect --mil -o back.mil m.mil
mlinspect --diff m.mil back.mil | tail -n 1
