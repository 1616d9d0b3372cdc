# What people see.
. "$HERE/model.inc"
mlinspect m.mil
mlinspect - <m.mil | head -n 1
mlinspect -o report m.mil
mlinspect m.mil | cmp - report
