# Damaged, foreign and missing models: the exit status and message of EXPECT, and nothing on stdout.
shopt -s nullglob
while read -r file want text; do
  case $file in \#* | sealed.age) continue ;; esac # the seal is empty, which shows only when it is opened
  status=0
  mlpredict "$TESTDATA/bad-models/$file" x=1 >out 2>err || status=$?
  [ $status = $want ] && [ ! -s out ] && grep -q '^mlpredict: error: ' err && grep -qi -e "$text" err || echo "$file: $status, $(cat out err)"
done < <(tr '\t' ' ' <"$TESTDATA/bad-models/EXPECT")
mlpredict absent.mlmodel x=1 || echo $?
mlpredict . x=1 || echo $?
mlpredict /dev/null x=1 || echo $?
mlpredict - x=1 </dev/null || echo $?
