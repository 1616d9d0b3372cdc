# An identity file may itself be sealed with a passphrase.
umask 077
R=$(mlencrypt keygen -o key)
mlencrypt -p -a --passphrase-fd 3 -o key.age key 3<<<'correct horse'
echo content | mlencrypt -r $R | mlencrypt -d -i key.age --passphrase-fd 3 -o - 3<<<'correct horse'
