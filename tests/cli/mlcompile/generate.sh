# needs: mlconvert
# Classes for programs: pictures and labels, and state.
mlconvert "$TESTDATA/demo/shapes.onnx" -o shapes.mlpackage --input image,type=image,color=RGB,scale=0.00392156862745098 \
  --class-labels "$TESTDATA/demo/labels.txt"
for language in swift c++ python; do mlcompile --generate $language -o - shapes.mlpackage; done
mlcompile --generate objc -o . shapes.mlpackage
cat shapes.h shapes.m
cat >counter.mil <<'MIL'
program(1.3) {
  func main<ios18>(state<tensor<fp16, [2]>> sum, tensor<fp16, [2]> x) {
    tensor<fp16, [2]> old = read_state(input = sum);
    tensor<fp16, [2]> total = add(x = old, y = x);
    write_state(data = total, input = sum);
  } -> (total);
}
MIL
for language in swift c++ python; do mlcompile --generate $language --class Sum -o - counter.mil; done
mlcompile --generate objc --class Sum --depfile counter.d -o made/ counter.mil
cat made/Sum.h made/Sum.m counter.d
# A name of its own for the file; nothing is touched that stays as it is.
mlcompile --generate objc -o other.h counter.mil
grep '^#import' other.m
touch -d 2001-01-01 other.h other.m
mlcompile --generate objc -o other.h counter.mil
find other.h other.m -newermt 2002-01-01
mlcompile --generate objc --class Another -o other.h counter.mil
find other.h other.m -newermt 2002-01-01
