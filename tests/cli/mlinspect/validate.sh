# Valid: exit 0. Errors: exit 1. Unreadable: exit 3.
. "$HERE/model.inc"
mlinspect --validate m.mil || echo $?
printf '\x08\x01\x12\x00\xa2\x1f\x00' >network.mlmodel
mlinspect --validate network.mlmodel || echo $?
echo 'program(1.3) {' >cut.mil
mlinspect --validate cut.mil || echo $?
