# One screen, on stdout; the version too.
mlquantize --help
mlquantize --version | sed 's/[0-9][0-9.]*$/N/'
