# ML programs that are wrong in one way each: the exit status and message of EXPECT, the op named, and nothing on stdout.
while IFS=$'\t' read -r file want text; do
  case $file in \#*) continue ;; esac
  status=0
  mlpredict "$TESTDATA/bad-programs/$file" 'x=[1,2]' >out 2>err || status=$?
  [ $status = $want ] && [ ! -s out ] && grep -q '^mlpredict: error: ' err && grep -qF -e "$text" err || echo "$file: $status, $(cat out err)"
done <"$TESTDATA/bad-programs/EXPECT"
