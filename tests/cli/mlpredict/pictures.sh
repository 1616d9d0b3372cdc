# needs: mlconvert
# Pictures and arrays into an image input, every way to fit them; answers with all threads and with one are the same.
mlconvert "$TESTDATA/demo/shapes.onnx" -o m.mlpackage --input image,type=image,color=RGB,scale=0.00392156862745098 --class-labels "$TESTDATA/demo/labels.txt"
star=$TESTDATA/demo/images/star-00.png
mlpredict m.mlpackage image=@"$star" | grep -e classLabel: -e star
mlpredict m.mlpackage image=@"$star" --top-k 2 | wc -l
mlpredict m.mlpackage image=@"$star" --json >y.jsonl
mlpredict m.mlpackage image=@"$star" --threads 1 --json | cmp - y.jsonl
mlpredict m.mlpackage image=@- --json <"$star" | cmp - y.jsonl
mlpredict m.mlpackage image=@"$star" --reference --expect y.jsonl >/dev/null
# The right answer for most of what it was not trained on.
right=0
for picture in "$TESTDATA"/demo/images/*-0[0-3].png; do
  label=$(basename "$picture")
  if mlpredict m.mlpackage image=@"$picture" --json | grep -q "\"classLabel\": \"${label%-*}\""; then right=$((right + 1)); fi
done
[ $right -ge 20 ] && echo "at least 20 of 24"
# A picture of another size: 4 by 2, left half red.
{ printf 'P6 4 2 255\n'; printf '\377\0\0\377\0\0\0\0\377\0\0\377%.0s' 1 2; } >wide.ppm
for fit in stretch crop pad; do mlpredict m.mlpackage image=@wide.ppm --fit $fit --json >$fit.jsonl; done
cmp -s stretch.jsonl crop.jsonl || echo "stretch is not crop"
cmp -s stretch.jsonl pad.jsonl || echo "stretch is not pad"
mlpredict m.mlpackage image=@wide.ppm --fit none || echo $?
mlpredict m.mlpackage image=5 || echo $?
head -c 500 "$star" >cut.png
mlpredict m.mlpackage image=@cut.png || echo $?
