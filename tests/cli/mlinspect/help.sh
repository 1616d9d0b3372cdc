# One screen, on stdout; the version too.
mlinspect --help
mlinspect --version | sed 's/[0-9][0-9.]*$/N/'
