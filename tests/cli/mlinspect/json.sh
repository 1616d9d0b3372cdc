# The machine forms.
. "$HERE/model.inc"
mlinspect --json m.mil
mlinspect --json --ops m.mil
mlinspect --json --weights m.mil
mlinspect --json --validate m.mil
