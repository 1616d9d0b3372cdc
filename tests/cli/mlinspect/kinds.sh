# Every kind of model is shown, an unknown one too.
printf '\x08\x04\x12\x00\xa2\x1f\x00' >network.mlmodel
mlinspect network.mlmodel
mlinspect --mil network.mlmodel || echo $?
printf '\x08\x63\x12\x00\xba\xf8\x01\x00' >future.mlmodel
mlinspect future.mlmodel
mlinspect --json future.mlmodel | grep -e kind -e version
printf '\x08\x01\x12\x00\xd2\x0c\x12\x0a\x07\x08\x01\x12\x00\xa2\x1f\x00\x0a\x07\x08\x01\x12\x00\xa2\x38\x00' >pipeline.mlmodel
mlinspect pipeline.mlmodel
mlinspect --ops pipeline.mlmodel
