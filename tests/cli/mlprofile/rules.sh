# --fail-if: exit 1 when a rule holds, with every one that does; --baseline compares in percent.
. "$HERE/../mlpredict/models.inc"
mlprofile m.mil --runs 3 --json >base.json
check() { mlprofile m.mil --runs 3 "$@" >out || echo "$?: $*"; }
check --fail-if 'predict.p50>1e9' --fail-if 'first>1e9'
check --fail-if 'predict.runs>=3' --fail-if 'predict.runs<3' --fail-if 'predict.runs<=3'
sed -E 's/("p50"): [0-9.e-]+/\1: 1e-9/' base.json >fast.json
sed -E 's/("p50"): [0-9.e-]+/\1: 1e9/' base.json >slow.json
check --baseline slow.json --fail-if 'predict.p50>+5%'
check --baseline fast.json --fail-if 'predict.p50>+5%' 2>err
sed -E 's/[0-9.]+e?[-+]?[0-9]*/N/g' err
check --baseline slow.json --fail-if 'predict.p50<-50%' 2>/dev/null
