# Reports for other programs, each in a file of its own or alone on stdout.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
mlprofile m.mil --runs 3 --trace t.json --speedscope s.json --html p.html --junit j.xml --github g.md --csv o.csv >out
wc -l <o.csv
grep -oE '"(name|ph)": "[a-zA-Z_]*"' t.json | sort | uniq -c | sort -rn | head -n 8
grep -oE '"(type|unit|exporter)": "[a-z]*"' s.json | sort | uniq -c
grep -o '<h2>[A-Za-z]*</h2>' p.html
grep -c '<testcase' j.xml
head -n 1 g.md
mlprofile m.mil --runs 3 --trace - | grep -c '"traceEvents"'
mlprofile m.mil --trace - --html - || echo $?
mlprofile m.mil --trace - --json || echo $?
mlprofile m.mil --html m.mil || echo $?
