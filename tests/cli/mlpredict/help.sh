# --help: stdout, exit 0, one screen.
mlpredict --help
[ "$(mlpredict --help | wc -l)" -le 50 ]
mlpredict -h | cmp - <(mlpredict --help)
mlpredict --version | grep -c '^mlpredict '
