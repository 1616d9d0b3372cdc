# Damaged, cut and foreign files: exit 3, and nothing under the output's name.
umask 077
R=$(mlencrypt keygen -o key)
head -c 200000 /dev/zero | mlencrypt -r $R -o m.age
size=$(stat -c %s m.age)
failed() {
  local status=0
  mlencrypt -d -i key -o back "$@" 2>message || status=$?
  echo "$status $(cat message)"
}
for cut in 0 1 21 22 100 167 168 184 185 65736 $((size - 1)); do
  head -c $cut m.age >cut.age
  failed cut.age
done
for at in 0 25 60 100 130 170 190 100000 $((size - 1)); do
  cp m.age bad.age
  printf '\377' | dd of=bad.age bs=1 seek=$at conv=notrunc status=none
  failed bad.age
done
{ cat m.age; echo; } >more.age
failed more.age
sed 's/v1$/v2/;1q' m.age >version.age
failed version.age
mlencrypt -a -r $R -o armored.age key
sed 3d armored.age >short.age
failed short.age
sed 's/^-----END.*//' armored.age >open.age
failed open.age
{ cat armored.age; echo trailing; } >trailing.age
failed trailing.age
failed /dev/null
failed absent.age
failed .
ls
