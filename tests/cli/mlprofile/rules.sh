# --fail-if: exit 1 when a rule holds, with every one that does; --baseline compares in percent.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
mlprofile m.mil --runs 3 --json >base.json
check() { mlprofile m.mil --runs 3 "$@" >out || echo "$?: $*"; }
check --fail-if 'predict.p50>1e9' --fail-if 'first>1e9'
check --fail-if 'predict.runs>=3' --fail-if 'predict.runs<3' --fail-if 'predict.runs<=3'
# The interval decides: the samples change with the median.
all() { sed -E -e "s/(\"p50\"): [0-9.e-]+/\\1: $1/" -e "/\"samples\"/,/\]/s/[0-9][0-9.e-]*(,?)\$/$1\\1/" base.json; }
all 1e-9 >fast.json
all 1e9 >slow.json
check --baseline slow.json --fail-if 'predict.p50>+5%'
check --baseline fast.json --fail-if 'predict.p50>+5%' 2>err
sed -E 's/[-+]?[0-9.]+(e[-+]?[0-9]+)?/N/g' err
check --baseline slow.json --fail-if 'predict.p50<-50%' 2>/dev/null
# Test cases and a summary of the same.
check --baseline fast.json --fail-if 'predict.p50>+5%' --fail-if 'first>1e9' --junit j.xml --github g.md 2>err
grep -oE '<testsuite name="mlprofile" tests="2" failures="1"|<testcase classname="m" name="[^"]*"|<failure' j.xml
grep -cE '\*\*fails\*\*|holds off' g.md
# A metric without an interval, and one that only the median of a noisy baseline could have decided.
sed -E 's/("first"): [0-9.e-]+/\1: 1e-9/' base.json >first.json
check --baseline first.json --fail-if 'first>+5%' 2>err
sed -E "s/[-+]?[0-9.]+(e[-+]?[0-9]+)?/N/g" err
awk '/"samples"/ { s = 1 } s && /[0-9],?$/ { v = (n++ % 2) ? "1e9" : "1e-9"; sub(/[0-9][0-9.e-]*/, v) } /\]/ { s = 0 } { print }' base.json >noisy.json
command mlprofile m.mil --runs 3 --baseline noisy.json --fail-if 'predict.p50>+5%' 2>err >out || echo $?
grep -c 'does not decide' err
