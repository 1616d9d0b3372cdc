# The ways to give a key; a key is never shown, whatever is wrong with it.
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX >key
echo content | mlencrypt -r $R -o m.age
mlencrypt -d -i key m.age -o -
mlencrypt -d --identity-fd 9 m.age -o - 9<key
mlencrypt -d --identity-command 'cat key' m.age -o -
mlencrypt -d --identity-command 'printf "%s" "$(cat key)"; cat' -o - <m.age
failed() {
  local status=0
  mlencrypt -d "$@" m.age -o back || status=$?
  echo $status
}
failed -i absent
failed -i .
failed --identity-command 'echo unreachable; exit 3'
failed --identity-command true
failed --identity-fd 77
sed 's/EGAEX/EGAEY/' key >mistyped
failed -i mistyped
echo "$R" >public
failed -i public
echo 'AGE-PLUGIN-YUBIKEY-1QQPQQQQ' >plugin
failed -i plugin
ls
