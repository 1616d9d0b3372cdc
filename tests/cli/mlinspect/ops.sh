# Counts, the most frequent first.
. "$HERE/model.inc"
mlinspect --ops m.mil
