# needs: mlinspect
# MIL text becomes a directory, whose files are those Apple's compiler would write.
cat >add.mil <<'MIL'
program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x, tensor<fp32, [1, ?]> flexible) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"flexible", [1, 4]}}), ("RangeDims", {{"flexible", [[1, 1], [1, 8]]}})))] {
            tensor<fp32, [2]> half = const()[name = string("half"), val = tensor<fp32, [2]>([0.5, -0.5])];
            tensor<fp32, [2]> y = add(x = x, y = half)[name = string("y")];
            tensor<fp32, [1, ?]> z = relu(x = flexible)[name = string("z")];
        } -> (y, z);
}
MIL
mlcompile -o add.mlmodelc add.mil
find add.mlmodelc -type f | sort
sed '2s/mltools [0-9.]*/VERSION/g' add.mlmodelc/model.mil
echo
cat add.mlmodelc/metadata.json
echo
# The same bytes again, also when the target is there already.
cp -r add.mlmodelc first
mlcompile -o add.mlmodelc/ add.mil
diff -r first add.mlmodelc
# Compiled models open everywhere, and are not compiled twice.
mlinspect add.mlmodelc
mlcompile -o again.mlmodelc add.mlmodelc || echo $?
