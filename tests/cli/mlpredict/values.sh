# NAME=VALUE: numbers, text, JSON, and files of every kind that is understood.
. "$HERE/models.inc"
. "$HERE/spec.inc"
mlpredict price.mlmodel rooms=4 area=120.5
mlpredict which.mlmodel a=-1e3 b=-1001
mlpredict relu.mlmodel x=[1,-2] --json
mlpredict m.mil 'x=[[1, 2, 3]]'
mlpredict m.mil x=[1,2,3] | cmp - <(mlpredict m.mil 'x=[[1, 2, 3]]') # the shape is the model's
echo '[[1, 2, 3]]' >x.json
echo '1 2, 3' >x.txt
mlpredict m.mil x=[1,2,3] --dump-intermediates d >/dev/null
for file in x.json x.txt; do mlpredict m.mil x=@$file --json; done
mlpredict m.mil x=@- --json <x.txt
mlpredict relu.mlmodel x=@d/p.npy --json # p is [1, 2], x is [2]
for value in [1,2] 5 @absent @/dev/null @. [1,2,null] '["a",2,3]' '{"a":1}' [[1,2],[3]]; do
  mlpredict m.mil "x=$value" || echo "$?: $value"
done
mlpredict m.mil || echo $?
mlpredict price.mlmodel rooms=1 || echo $?
