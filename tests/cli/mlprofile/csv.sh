# --csv: one line for each operation, to a file beside the table, or alone on stdout.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
mlprofile m.mil --runs 2 --csv ops.csv | grep -c predict
cut -d, -f1,2 ops.csv
sed 1d ops.csv | grep -vcE '^"[a-z]",[a-z]+,[a-z+]+,"[^"]+",[0-9.]+,[0-9.]+,[0-9]+,[0-9]+$' || true
mlprofile m.mil --runs 2 --csv - >all.csv && head -n 1 all.csv
