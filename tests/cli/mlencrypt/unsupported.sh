# Recipients of kinds that are not supported are named: exit 4.
status=0
mlencrypt -r 'ssh-rsa AAAA' </dev/null || status=$?
echo $status
status=0
mlencrypt -r age1pq1x34n </dev/null || status=$?
echo $status
