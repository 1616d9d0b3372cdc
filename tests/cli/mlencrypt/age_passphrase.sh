# needs: age script
# Passphrases go both ways; age asks for them on a terminal only.
echo content >m
mlencrypt -p --passphrase-fd 3 -o ours.age m 3<<<'correct horse'
{ sleep 1; echo 'correct horse'; sleep 1; } | script -qec 'age -d -o back ours.age' /dev/null >/dev/null
cat back
{ sleep 1; echo 'correct horse'; sleep 1; echo 'correct horse'; sleep 2; } |
  script -qec 'age -p -o theirs.age m' /dev/null >/dev/null
mlencrypt -d --passphrase-fd 3 -o - theirs.age 3<<<'correct horse'
# Ours asks on the terminal too, without echo.
{ sleep 1; echo 'correct horse'; sleep 2; } | script -qec 'mlencrypt -d -o asked theirs.age' /dev/null | tr -d '\r'
cat asked
