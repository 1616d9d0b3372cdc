# The table: phases, percentiles, and the operations with the kernel that ran each.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
columns() { sed -E 's/ \? alloc/ N alloc/; s/ +[0-9]+\.[0-9]+/ N/g; s/[0-9]+ threads, [a-z0-9_]+/N threads, CPU/; s/^( N N N N ).* ([a-z]+)$/\1 \2/; s/^ +not .*/    not/'; }
mlprofile m.mil --runs 3 | columns >table
sed '/kernel/q' table | grep -vE '(linear|add) +1$'
grep -E '(linear|add) +1$' table | sort # kinds
sed '1,/kernel/d' table | sort # what took longest comes first
echo ---
mlprofile m.mil --runs 3 --top 1 x=[1,2,3] | sed '1,/kernel/d' | wc -l
mlprofile m.mil --runs 3 --top 0 | grep -c predict
echo ---
mlprofile m.mil --runs 1 --explain | sed '1,/kernel/d' | grep -o '[a-z]$'
echo ---
mlprofile m.mil --runs 1 --explain | grep -c bf16 || true
mlprofile m.mil --runs 1 --explain --bf16 always | grep -c bf16
