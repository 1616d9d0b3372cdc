R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
head -c 70000 /dev/zero | mlencrypt -r $R -r $R -o m.age
mlencrypt inspect m.age
mlencrypt inspect --json m.age
echo content | mlencrypt -r $R -a | mlencrypt inspect
status=0
echo content | mlencrypt inspect || status=$?
echo $status
head -c 300 m.age | mlencrypt inspect || status=$?
echo $status
