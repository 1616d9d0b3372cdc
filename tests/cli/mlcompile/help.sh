# One screen, on stdout; the version too.
mlcompile --help
mlcompile --version | sed 's/[0-9][0-9.]*$/N/'
