# Signatures of files and packages; a no is exit 1, a file that is none exit 3.
mlencrypt keygen --signing -o sign.key >sign.pub
stat -c %a sign.key
wc -l <sign.pub
echo content >m
mlencrypt sign -k sign.key -c 'release 1' m
mlencrypt verify -k sign.pub m
mlencrypt verify -k "$(tail -n 1 sign.pub)" -s m.minisig - <m
status() {
  local status=0
  "$@" || status=$?
  echo $status
}
echo more >>m
status mlencrypt verify -k sign.pub m
mlencrypt keygen --signing -o other.key >other.pub
status mlencrypt verify -k other.pub m 2>&1 | sed 's/[0-9A-F]\{16\}/NUMBER/g'
echo junk >m.minisig
status mlencrypt verify -k sign.pub m
status mlencrypt verify -k nonsense m
status mlencrypt verify -k sign.pub absent
status mlencrypt sign -k sign.pub m
chmod 644 sign.key
status mlencrypt sign -k sign.key m
chmod 600 sign.key
status mlencrypt sign -k sign.key - <m
status mlencrypt keygen --signing -o sign.key
# A package is signed as the archive that sealing would make of it, wherever it lies.
mkdir -p a.mlpackage/Data
echo '{"fileFormatVersion":"1.0.0","itemInfoEntries":{},"rootModelIdentifier":"x"}' >a.mlpackage/Manifest.json
echo weights >a.mlpackage/Data/w
mlencrypt sign -k sign.key a.mlpackage/
cp -r a.mlpackage b.mlpackage
mlencrypt verify -k sign.pub -s a.mlpackage.minisig b.mlpackage
echo Weights >b.mlpackage/Data/w
status mlencrypt verify -k sign.pub -s a.mlpackage.minisig b.mlpackage
