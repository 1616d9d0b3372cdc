# Wrong usage is exit 2 with a hint; foreseen but absent is exit 4.
. "$HERE/../mlpredict/models.inc"
mlprofile -q m.mil --runs 1 --json >base.json
refused() {
  local status=0
  mlprofile "$@" >out 2>&1 || status=$?
  echo "$status: mlprofile $*"
  sed 's/^/    /' out
}
refused
refused --nonsense m.mil
refused m.mil 5
refused m.mil q=5
refused m.mil x=[1,2,3] x=[1,2,3]
refused m.mil x=[1,2
refused m.mil --runs 0
refused m.mil --max-seconds=-1
refused m.mil --top=-1
refused m.mil --baseline base.json
refused m.mil --baseline absent --fail-if 'predict.p50>+5%'
refused m.mil --baseline m.mil --fail-if 'predict.p50>+5%'
for rule in '' p50 'predict.p50' 'predict.p50>' '>5' 'predict.p50>fast' 'predict.p50=5' 'predict.p50>+5%' 'predict.p50>+x%'; do refused m.mil --runs 1 --fail-if "$rule"; done
refused m.mil --runs 1 --fail-if 'nonsense>5'
refused m.mil --runs 1 --fail-if 'ops>5'
refused m.mil --csv m.mil
refused - x=@- <m.mil
rm out
ls
