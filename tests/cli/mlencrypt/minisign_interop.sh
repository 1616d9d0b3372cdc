# needs: minisign
# Keys and signatures go both ways between this program and minisign.
echo content >m
mlencrypt keygen --signing -o ours.key >ours.pub
mlencrypt sign -k ours.key -c 'by us' -o ours.sig m
minisign -V -p ours.pub -m m -x ours.sig
minisign -G -W -p theirs.pub -s theirs.key >/dev/null
minisign -S -s theirs.key -m m -x theirs.sig -t 'by them' >/dev/null
mlencrypt verify -k theirs.pub -s theirs.sig m
mlencrypt sign -k theirs.key -c 'by us' -o both.sig m
minisign -V -p theirs.pub -m m -x both.sig
minisign -S -s ours.key -m m -x both2.sig -t 'by them' >/dev/null
mlencrypt verify -k ours.pub -s both2.sig m
