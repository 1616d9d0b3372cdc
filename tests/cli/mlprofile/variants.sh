# Sweeps, models side by side, cold starts, peaks: what is in the table and in the JSON form.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
numbers() { sed -E 's/[0-9]+\.[0-9]+/N/g; s/ +/ /g; s/[0-9]+ % of them/N % of them/'; }
mlprofile m.mil --runs 3 --sweep threads=1,2 --sweep batch=4 --sweep x=1x3,1x4 --compare m.mil --cold 2 --roofline --top 0 >out
grep -E '^(sweep|threads|batch|x|model|m|cold|peak) ' out | numbers
sed 's/1, 3\]> x/?, 3]> x/; s/1, 2\]> /?, 2]> /g' m.mil >flexible.mil
mlprofile flexible.mil --runs 3 --sweep batch=1,4 --top 0 | grep '^batch' | numbers
mlprofile m.mil --runs 3 --json --sweep batch=4 --compare m.mil --cold 2 --roofline >p.json
grep -oE '"(sweeps|refused|compared|ratio_interval|cold|evicted|peak|cache_gbytes_per_second|roofline_percent)"' p.json | sort | uniq -c
mlprofile m.mil --runs 3 --cold 2 --fail-if 'cold.p50>1e9' >out
for wrong in threads=0 threads batch=1x2 x=1xx2; do mlprofile m.mil --sweep $wrong || echo $?; done
mlprofile m.mil --runs 1 --sweep q=1 || echo $?
mlprofile - --cold 2 <m.mil || echo $?
mlprofile m.mil --runs 1 --compare absent.mil || echo $?
