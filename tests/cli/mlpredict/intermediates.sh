# --dump-intermediates writes every value; a model without any says so.
. "$HERE/models.inc"
. "$HERE/spec.inc"
mlpredict m.mil x=[1,2,3] --dump-intermediates d
(cd d && ls && od -An -tf4 -w8 -j128 p.npy)
mlpredict m.mil x=[1,2,3] --dump-intermediates d/deeper/still --json
ls d/deeper/still
mlpredict relu.mlmodel x=[1,-2] --dump-intermediates net --json
ls net | wc -l
mlpredict price.mlmodel rooms=1 area=1 --dump-intermediates none || echo $?
mlpredict m.mil x=[1,2,3] --dump-intermediates m.mil || echo $?
