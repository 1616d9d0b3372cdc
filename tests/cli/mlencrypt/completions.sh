# Completion scripts for three shells, from the option table; those whose shell is here must parse.
for shell in bash zsh fish; do
  mlencrypt --completions $shell >$shell
  if command -v $shell >/dev/null; then $shell -n $shell; fi
  for option in compress recipient recipients-file passphrase armor decrypt output identity identity-fd passphrase-fd color help; do
    grep -q -e "$option" $shell || echo "$shell: no $option"
  done
  ! grep -e nothing-like-it -e completions\' $shell
done
# What bash offers.
source ./bash
offer() {
  COMP_WORDS=(mlencrypt "$@") COMP_CWORD=$#
  _mlencrypt 2>/dev/null || true
  echo "${COMPREPLY[*]}"
}
touch 'a file' model.mlmodel
offer --re
offer --color a
offer in
offer keygen --o
offer -o mo
COMPREPLY=() && offer -d a >/dev/null && printf '<%s>\n' "${COMPREPLY[@]}"
