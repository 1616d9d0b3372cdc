# needs: mlencrypt
# A sealed model runs from memory, given its key.
. "$HERE/models.inc"
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.mil
mlpredict -i key m.age x=[1,2,3]
mlencrypt -r "$recipient" <m.mil | mlpredict --identity-fd 9 - x=[1,2,3] --json 9<key
mlpredict m.age x=[1,2,3] || echo $?
mlencrypt keygen -o wrong >/dev/null
mlpredict -i wrong m.age x=[1,2,3] || echo $?
ls
# What is computed with a sealed model is not written in the clear by accident.
mlpredict -i key m.age x=[1,2,3] --dump-intermediates d || echo $?
mlpredict -i key m.age x=[1,2,3] --dump-intermediates d --allow-plaintext >/dev/null
ls d | head -n 1
