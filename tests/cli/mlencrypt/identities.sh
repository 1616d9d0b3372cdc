# The ways to give a key; a key is never shown, whatever is wrong with it.
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX >key
chmod 600 key
echo content | mlencrypt -r $R -o m.age
mlencrypt -d -i key m.age -o -
mlencrypt -d --identity-fd 9 m.age -o - 9<key
mlencrypt -d --identity-command 'cat key' m.age -o -
mlencrypt -d --identity-command 'sh -c "cat key; cat"' -o - <m.age
failed() {
  local status=0
  mlencrypt -d "$@" m.age -o back || status=$?
  echo $status
}
failed -i absent
failed -i .
failed --identity-command 'sh -c "exit 3"'
failed --identity-command true
failed --identity-fd 77
sed 's/EGAEX/EGAEY/' key >mistyped; chmod 600 mistyped
failed -i mistyped
echo "$R" >public; chmod 600 public
failed -i public
echo 'AGE-PLUGIN-YUBIKEY-1QQPQQQQ' >plugin; chmod 600 plugin
failed -i plugin

failed --identity-command 'absent-program "an argument"'
failed --identity-command 'cat "key'
chmod 640 key
failed -i key
ls
