# Other recipients for the same content, which is not touched and need not be opened to a file.
old=$(mlencrypt keygen -o old.txt)
new=$(mlencrypt keygen -o new.txt)
head -c 200000 /dev/zero | tr '\0' x >m
mlencrypt -r $old -o m.age m
mlencrypt rewrap -i old.txt -r $new -o m2.age m.age
mlencrypt -d -i new.txt m2.age | cmp - m
cmp <(tail -c 200080 m.age) <(tail -c 200080 m2.age)
mlencrypt rewrap -i old.txt -r $new -r $old -a m.age | mlencrypt -d -i old.txt | cmp - m
mlencrypt rewrap -i old.txt -p --passphrase-fd 3 m.age 3<<<secret | mlencrypt inspect | sed -n 2p
status() {
  local status=0
  mlencrypt rewrap "$@" || status=$?
  echo $status
}
status -i old.txt -r $new -o m3.age m2.age
status -i old.txt m.age
status -i old.txt -r $new -o m3.age m
status -r $new -o m3.age m.age
ls
