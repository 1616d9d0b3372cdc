# Messages: hints unless -q, more with -v, colour by request, and no crash where nobody listens.
umask 077
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX >key
head -c 100000 /dev/zero >m
status() { "$@" || echo $?; }
mlencrypt -v -r $R -r $R --threads 1 -o m.age m
mlencrypt -v -d -i key -o back m.age
mlencrypt -v -q -d -i key --threads 3 -o back m.age
cmp m back
status mlencrypt -d -q m.age
status mlencrypt -d --color always m.age 2>&1 | sed 's/\x1b/ESC/g'
status mlencrypt --color=sometimes
status mlencrypt --threads 0
(mlencrypt --nonsense 2>&-) || echo $?
(mlencrypt --nonsense 2>/dev/full) || echo $?
(mlencrypt --help >&- 2>&-) || echo $?
printf 'x' >$'bad\x1b[2Jname'
status mlencrypt -d -i key $'bad\x1b[2Jname'
