# needs: age ssh-keygen
# SSH keys of the kind Ed25519, both ways with age; others are named.
ssh-keygen -q -t ed25519 -N '' -f key -C somebody
head -c 100000 /dev/zero | tr '\0' x >m
mlencrypt -r "$(cat key.pub)" m | age -d -i key | cmp - m
mlencrypt -R key.pub m | mlencrypt -d -i key -o - | cmp - m
age -R key.pub m | mlencrypt -d -i key -o - | cmp - m
mlencrypt -R key.pub m | mlencrypt inspect | sed -n 2p
status() {
  local status=0
  "$@" || status=$?
  echo $status
}
ssh-keygen -q -t rsa -b 2048 -N '' -f rsa -C somebody
status mlencrypt -R rsa.pub -o out m
age -R rsa.pub -o m.age m
status mlencrypt -d -i rsa -o out m.age
status mlencrypt -d -i key -o out m.age
ssh-keygen -q -p -N secret -f key >/dev/null
mlencrypt -R key.pub -o m.age m
status mlencrypt -d -i key -o out m.age
ls
