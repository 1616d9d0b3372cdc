# Full disk, closed pipe, unwritable output: exit 5; a failed run leaves nothing, an interrupted one neither.
umask 077
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX >key
head -c 3000000 /dev/zero >m
report() { echo "$1"; }
mlencrypt -r $R m >/dev/full || report $?
mlencrypt -r $R -o /dev/full m || report $?
mlencrypt --help >/dev/full || report $?
mlencrypt -r $R -o absent/m.age m || report $?
mkdir folder
mlencrypt -r $R -o folder m || report $?
{ mlencrypt -r $R m || report $? >status; } | true
cat status
mlencrypt -r $R -o m.age m
{ mlencrypt -d -i key m.age || report $? >status; } | head -c 1 >/dev/null
cat status
mlencrypt -r $R -o x.age absent || report $?

mkfifo pipe
mlencrypt -r $R -o late.age pipe &
tool=$!
exec 7>pipe
head -c 2500000 m >&7
for _ in $(seq 100); do
  [ -z "$(ls -A | grep '^\.late')" ] || break
  sleep 0.05
done
ls -A | grep -c '^\.late'
kill $tool
wait $tool || report $?
exec 7>&-
rm pipe
ls -A
