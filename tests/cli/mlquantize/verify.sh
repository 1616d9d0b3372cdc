# needs: mlinspect
# The result is run beside the original: errors, the worst layers, and nothing written when too much is lost.
. "$HERE/model.inc"
program ios18 fp32 >m.mil
row() { awk -v s="$1" 'BEGIN { printf "{\"x\": [["; for (i = 0; i < 50; i++) printf "%s%g", i ? ", " : "", ((i * s) % 13) / 7 - 0.9; print "]]}" }'; }
for s in 3 5 7 11; do row $s; done >data.jsonl
mlquantize -v --linear int8 --verify data.jsonl -o out.mlpackage m.mil
mlquantize --linear int8 -o same.mlpackage m.mil
diff -r out.mlpackage same.mlpackage
echo == too much is lost
mlquantize --palettize 1 --verify data.jsonl --max-drop 1% --report refused.json -o none.mlpackage m.mil || echo $?
grep -A 6 '"verify"' refused.json
ls -d none* 2>/dev/null || true
mlquantize --linear int8 --verify data.jsonl --max-drop 0.5 -o fits.mlpackage m.mil
echo == the report as a page
mlquantize --linear int8 --verify data.jsonl --report page.html -o page.mlpackage m.mil
grep -o '<h2>[^<]*</h2>' page.html
grep -c -e http -e '<script' page.html || true
echo == a size, with and without data
for threads in 1 3; do mlquantize --threads $threads --target-size 9kB --verify data.jsonl --report $threads.json -o small$threads.mlpackage m.mil; done
diff -r small1.mlpackage small3.mlpackage
cmp 1.json 3.json
[ "$(find small1.mlpackage -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')" -le 9000 ] && echo fits
grep -c '"chosen"' 1.json
mlquantize --target-size 9kB -o blind.mlpackage m.mil
mlinspect --ops blind.mlpackage | grep constexpr
mlquantize --target-size 2kB -o none.mlpackage m.mil || echo $?
echo == the smallest that is good enough
mlquantize --verify data.jsonl --max-drop 5% --report - -o good.mlpackage m.mil | grep '"drop"' | tail -n 1
mlinspect --ops good.mlpackage | grep constexpr
mlquantize --verify data.jsonl --max-drop 0 --only nothing -o none.mlpackage m.mil || echo $?
# Through a pipe and sealed alike.
mlquantize --linear int8 --verify data.jsonl -o - - <m.mil | mlinspect --ops - | grep constexpr
