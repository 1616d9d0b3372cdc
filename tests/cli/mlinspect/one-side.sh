# What git difftool gives for a model that was added or removed.
echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >m.mil
try() {
  status=0
  mlinspect "$@" || status=$?
  echo "$status"
}
try --diff /dev/null m.mil
try --diff m.mil /dev/null
try --json --diff /dev/null m.mil
try --diff /dev/null /dev/null
try --diff /dev/null missing.mil
