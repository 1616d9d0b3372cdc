# Wrong usage is exit 2 with a hint, and leaves nothing behind.
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo x >m
refused() {
  local status=0
  mlencrypt "$@" >out 2>&1 || status=$?
  echo "$status: mlencrypt $*"
  sed 's/^/    /' out
}
refused m
refused -r $R --nonsense m
refused -r $R --recipent m
refused -r
refused -r $R m another
refused -r $R -o a -o b m
refused -r $R -o '' m
refused -r $R -p m
refused -r $R -i key m
refused -r $R --passphrase-fd 3 m
refused -r age1nonsense m
refused -r AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX m
refused -d -r $R m
refused -d -p m
refused -d -a m
mlencrypt -r $R -o m.age m
refused -d -i - - <m.age
refused -r $R -o m m
ln -s m link
refused -r $R -o link m
refused --passphrase-fd x -d m
refused --armor=no -r $R m
refused keygen name
rm -f out
ls
