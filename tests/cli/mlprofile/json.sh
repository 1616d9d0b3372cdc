# --json has the fields of the manual, and numbers where numbers are.
. "$HERE/../mlpredict/models.inc"
mlprofile() { command mlprofile -q "$@"; }  # whether the machine is noisy is not tested
mlprofile m.mil --runs 4 --json >p.json
grep -oE '"[a-z_0-9]+":' p.json | sort -u | tr -d '\n'; echo
grep -E '"(schema|model|runs|schema_version)"' p.json
mlprofile m.mil --runs 1 --json --threads 1 >p.json && grep '"threads"' p.json
mlprofile - --runs 1 --json <m.mil >p.json && grep -c '"schema"' p.json
