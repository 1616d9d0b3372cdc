# One screen, on stdout; the version too.
mlconvert --help
mlconvert --version | sed 's/[0-9][0-9.]*$/N/'
