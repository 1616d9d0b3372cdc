# Missing and damaged models: exit 3.
try() { mlinspect "$@" || echo $?; }
try missing.mlmodel
head -c 300 /dev/zero >zeros
try zeros
printf '\x08\x01\x12\x7f' >cut.mlmodel
try cut.mlmodel
printf 'program(1.3) { func main<ios18>(fp32 \033[31m) {} -> (); }' >control.mil
try control.mil
mkdir broken.mlmodelc
printf 'short' >broken.mlmodelc/coremldata.bin
try broken.mlmodelc
