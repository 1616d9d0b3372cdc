# --json: the report on stdout, the same as --report writes.
. "$HERE/model.inc"
program ios15 fp16 >m.mil
mlquantize --json --linear int8 -o out.mlpackage --report report.json m.mil >out.json
cmp out.json report.json && head -n 4 out.json
mlquantize --json --linear int8 -o - m.mil || echo $?
mlquantize --json --linear int8 --report - -o out2.mlpackage m.mil || echo $?
ls
