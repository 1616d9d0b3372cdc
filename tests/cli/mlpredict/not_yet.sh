# What is planned and not there yet says so: exit 4.
for arguments in "--compare-with b" "--generate 5" "--state-in s" "--state-out s"; do
  mlpredict m.mil $arguments || echo $?
done
