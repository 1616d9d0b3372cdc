echo 'program(1.0) { func main<ios16>(fp16 x) { fp16 y = relu(x = x); } -> (y); }' >m.mil
try() {
  echo "$1" >rules.json
  status=0
  mlcompile --collection rules.json -o C || status=$?
  echo "$status"
}
try 'nonsense'
try '{"identifier": "C", "models": []}'
try '{"identifier": "C", "models": [{"identifier": "../m", "variants": [{"model": "m.mil"}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil"}, {"model": "m.mil"}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil", "when": {"colour": "red"}}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil", "when": {"osVersion": {"atLeast": "18", "below": "17"}}}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil", "when": {"deviceClass": "toaster"}}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "missing.mil"}]}]}'
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil"}]}, {"identifier": "M", "variants": [{"model": "m.mil"}]}]}'
ls
mkdir C
touch C/precious
try '{"identifier": "C", "models": [{"identifier": "m", "variants": [{"model": "m.mil"}]}]}'
mlcompile --collection rules.json -o - || echo $?
mlcompile --collection rules.json -o D m.mil || echo $?
ls C
