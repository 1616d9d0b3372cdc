# --expect: agreement is 0, difference 1, and only what the file names is compared.
. "$HERE/models.inc"
. "$HERE/spec.inc"
echo '{"y": [[14, 0]], "z": [[15, 1]]}' >right.jsonl
echo '{"z": [[15.001, 1]]}' >near.jsonl
echo '{"y": [[14, 0]], "z": [[16, 1]]}' >wrong.jsonl
echo '{"w": 1}' >other.jsonl
echo '{"y": [14]}' >short.jsonl
for file in right near wrong other short; do mlpredict m.mil x=[1,2,3] --expect $file.jsonl || echo "$?: $file"; done
mlpredict m.mil x=[1,2,3] --expect near.jsonl --rtol 0 || echo $?
mlpredict m.mil x=[1,2,3] --expect near.jsonl --rtol 0 --atol 0.01
mlpredict m.mil x=[1,2,3] --expect wrong.jsonl --json || echo $?
echo '{"which": "more", "scores": {"less": 0.5, "more": 0.5}}' >label.jsonl
mlpredict which.mlmodel a=1 b=2 --expect label.jsonl || echo $?
echo '{"scores": {"less": 0.5, "most": 0.5}}' >keys.jsonl
mlpredict which.mlmodel a=1 b=2 --expect keys.jsonl || echo $?
# Another number of records is a mistake, not a difference.
: >none.jsonl
cat right.jsonl right.jsonl >two.jsonl
for file in none two; do mlpredict m.mil x=[1,2,3] --expect $file.jsonl || echo "$?: $file"; done
mlpredict m.mil x=[1,2,3] --expect absent || echo $?
mlpredict m.mil x=[1,2,3] --expect m.mil || echo $?
# NaN and infinity.
echo '{"y": [null, 0]}' >nan.jsonl
mlpredict relu.mlmodel x=[1,0] --expect nan.jsonl || echo $?
