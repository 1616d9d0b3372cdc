# needs: mlinspect
# A classic model is a header and its message (an identity model of specification 1).
printf '\x08\x01\x12\x00\xa2\x38\x00' >identity.mlmodel
mlcompile -o identity.mlmodelc identity.mlmodel
find identity.mlmodelc -type f | sort
tail -c 7 identity.mlmodelc/coremldata.bin | cmp - identity.mlmodel
mlinspect identity.mlmodelc
# A pipeline of two of them.
printf '\x08\x01\x12\x00\xd2\x0c\x12\x0a\x07\x08\x01\x12\x00\xa2\x38\x00\x0a\x07\x08\x01\x12\x00\xa2\x38\x00' >two.mlmodel
mlcompile -o two.mlmodelc two.mlmodel
find two.mlmodelc -type f | sort
mlinspect two.mlmodelc
grep -A 8 modelType two.mlmodelc/metadata.json
