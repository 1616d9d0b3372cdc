# --help: stdout, exit 0, one screen; the words have theirs.
mlencrypt --help
[ "$(mlencrypt --help | wc -l)" -le 50 ]
mlencrypt -h | cmp - <(mlencrypt --help)
mlencrypt --nonsense --help | cmp - <(mlencrypt --help)
echo ---
mlencrypt keygen --help
echo ---
mlencrypt inspect --help
