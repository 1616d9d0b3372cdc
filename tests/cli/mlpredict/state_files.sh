# --state-out and --state-in: a sequence goes on in another run. All states by name, as the model declares them.
. "$HERE/models.inc"
# needs: unzip
mlpredict sum.mil x=[1,2] --state-out s.npz --json
mlpredict sum.mil x=[10,20] --state-in s.npz --state-out t.safetensors --json
mlpredict sum.mil x=[0,0.0001] --state-in t.safetensors --state-out t.npz --json
mlpredict sum.mil x=[0,0] --state-in - --json <t.npz
mlpredict sum.mil x=[1,1] --outputs y.npz --state-out - | mlpredict sum.mil x=[1,1] --state-in - --json
unzip -p s.npz total.npy | tail -c 4 | od -An -tx1
refused() { "$@" || echo $?; }
refused mlpredict m.mil x=[1,2,3] --state-in s.npz
refused mlpredict m.mil x=[1,2,3] --state-out u.npz
refused mlpredict sum.mil x=[1,2] --state-out u.csv
refused mlpredict sum.mil x=[1,2] --state-out -
refused mlpredict sum.mil x=[1,2] --state-in none.npz
refused mlpredict sum.mil x=[1,2] --state-in sum.mil
refused mlpredict sum.mil x=[1,2] --state-in y.npz
sed 's/total/sum_so_far/g' sum.mil >other.mil
refused mlpredict other.mil x=[1,2] --state-in s.npz
sed 's/\[2\]/[3]/g' sum.mil >long.mil
refused mlpredict long.mil x=[1,2,3] --state-in s.npz
sed 's/fp16/int32/g' sum.mil >whole.mil
refused mlpredict whole.mil x=[1,2] --state-in s.npz
# Two states, one of them in the file.
sed 's/(state<tensor<fp16, \[2\]>> total,/(state<tensor<fp16, [2]>> extra, state<tensor<fp16, [2]>> total,/' sum.mil >two.mil
refused mlpredict two.mil x=[1,2] --state-in s.npz
ls
