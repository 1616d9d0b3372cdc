# needs: script
# Binary to a terminal is refused unless it is asked for with -o -; armor is text.
R=age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
echo x >m
script -qec "mlencrypt -r $R m" /dev/null | tr -d '\r' || true
script -qec "mlencrypt -a -r $R m" /dev/null | head -n 1 | tr -d '\r'
script -qec "mlencrypt -r $R -o - m" /dev/null | head -n 1 | tr -d '\r'
