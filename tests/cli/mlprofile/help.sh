# --help: stdout, exit 0, one screen.
mlprofile --help
[ "$(mlprofile --help | wc -l)" -le 50 ]
mlprofile -h | cmp - <(mlprofile --help)
mlprofile --version | grep -c '^mlprofile '
