# needs: age age-keygen
# Files go both ways between this program and age.
age-keygen -o key 2>/dev/null
R=$(age-keygen -y key)
recipient=$(mlencrypt keygen -o ours)
[ "$recipient" = "$(age-keygen -y ours)" ]
for size in 0 1 65536 200000; do
  head -c $size /dev/zero | tr '\0' x >m
  for armor in '' -a; do
    mlencrypt $armor -r $R -r $recipient m | age -d -i key | cmp - m
    mlencrypt $armor -r $R -r $recipient m | age -d -i ours | cmp - m
    age $armor -r $R -r $recipient m | mlencrypt -d -i key | cmp - m
    age $armor -r $R -r $recipient m | mlencrypt -d -i ours | cmp - m
  done
done
age -r $R m | mlencrypt inspect | head -n 2
