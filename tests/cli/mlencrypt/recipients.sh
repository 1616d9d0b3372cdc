# Several recipients, directly and from files; each opens, others do not.
umask 077
for who in a b c d; do mlencrypt keygen -o $who.key >$who.pub; done
{ echo '# the team'; cat b.pub; echo; cat c.pub; } >team
echo content | mlencrypt -r "$(cat a.pub)" -R team -o m.age
for who in a b c; do mlencrypt -d -i $who.key m.age -o -; done
mlencrypt -d -i d.key -i c.key m.age -o -
cat d.key a.key | mlencrypt -d -i - m.age -o -
mlencrypt -R - -o n.age team <a.pub
mlencrypt -d -i a.key -o - n.age | cmp - team
status=0
mlencrypt -d -i d.key m.age -o back || status=$?
echo $status
mlencrypt -d m.age -o back || status=$?
echo $status
for bad in 'age1nonsense' '# nobody' "$(cat a.key)"; do
  echo "$bad" >list
  status=0
  mlencrypt -R list <team 2>message >/dev/null || status=$?
  echo "$status $(head -n 1 message | sed 's/AGE-SECRET.*/LEAK/')"
done
mlencrypt -R absent <team >/dev/null || echo $?
ls
