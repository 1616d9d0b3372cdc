# The table, and one of them as a file.
. "$HERE/model.inc"
mlinspect --weights m.mil
mlinspect --weight kernel -o k.npy m.mil
head -c 128 k.npy | tr -d ' ' | tail -c +11
tail -c 40 k.npy | od -A n -t f4 | tr -s ' '
mlinspect --weight kernel -o - m.mil | cmp - k.npy
mlinspect --weight kernal -o - m.mil || echo $?
