# needs: mlinspect zstd
# The other tools open what is sealed, binary or armored, compressed before, from a file or a pipe, and never write it.
umask 077
recipient=$(mlencrypt keygen -o key)
printf '\010\001\022\000\242\070\000' >m.mlmodel # specification 1, no inputs, the identity model
mlinspect --json m.mlmodel >plain
same() { diff <(grep -v -e '"file"' -e '"path"' -e '"name"' -e '"origin"' -e '"sealed"' -e '"container"' plain) \
  <(grep -v -e '"file"' -e '"path"' -e '"name"' -e '"origin"' -e '"sealed"' -e '"container"' got) && echo same; }
mlencrypt -r "$recipient" -o m.age m.mlmodel
mlinspect --json -i key m.age >got && same
mlencrypt -a -r "$recipient" m.mlmodel | mlinspect --json --identity-command 'cat key' - >got && same
zstd -q -c m.mlmodel | mlencrypt -r "$recipient" | mlinspect --json --identity-fd 9 - 9<key >got && same
mlencrypt -p --passphrase-fd 9 -o p.age m.mlmodel 9<<<'correct horse'
mlinspect --json --passphrase-fd 9 p.age 9<<<'correct horse' >got && same
for attempt in "m.age" "-i absent m.age" "-i m.mlmodel m.age"; do
  status=0
  mlinspect $attempt || status=$?
  echo $status
done
ls
