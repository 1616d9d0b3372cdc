# needs: mlencrypt
# A sealed model is opened in memory, given its key.
. "$HERE/model.inc"
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.mil
mlinspect m.age || echo $?
mlinspect -i key m.age | head -n 3
