# needs: mlcompile
# What coremlcompiler metadata prints, also for models that are not programs.
. "$HERE/model.inc"
mlcompile -o m.mlmodelc m.mil
mlinspect --metadata m.mil | head -c -1 | cmp - m.mlmodelc/metadata.json
printf '\x08\x01\x12\x00\xa2\x1f\x00' >network.mlmodel
mlinspect --metadata network.mlmodel
