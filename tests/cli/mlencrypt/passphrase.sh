# Passphrases come from a descriptor where there is no terminal.
echo content >m
mlencrypt -p --passphrase-fd 3 -o m.age m 3<<<'correct horse'
mlencrypt -d --passphrase-fd 3 -o - m.age 3<<<'correct horse'
mlencrypt inspect m.age
failed() {
  local status=0
  mlencrypt "$@" || status=$?
  echo $status
}
failed -d --passphrase-fd 3 -o back m.age 3<<<'wrong'
failed -d --passphrase-fd 3 -o back m.age 3</dev/null
failed -d --passphrase-fd 77 -o back m.age
setsid -w mlencrypt -d -o back m.age </dev/null || echo $?
setsid -w mlencrypt -p -o back m </dev/null || echo $?
ls
