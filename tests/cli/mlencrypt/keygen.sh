# A key file is private, never overwritten, and opens what its recipient seals.
recipient=$(mlencrypt keygen -o key.txt)
stat -c %a key.txt
grep -c "^# public key: $recipient\$" key.txt
[[ $recipient == age1* && ${#recipient} == 62 ]]
before=$(cat key.txt)
status=0
mlencrypt keygen -o key.txt || status=$?
echo $status
[ "$before" = "$(cat key.txt)" ]
echo content | mlencrypt -r "$recipient" | mlencrypt -d -i key.txt -o -
mlencrypt keygen >other.txt
grep -c '^AGE-SECRET-KEY-1' other.txt
! cmp -s key.txt other.txt
