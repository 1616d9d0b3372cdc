# Weights prepared for instruction sets: a file more, the same answers, left alone when nothing has changed.
# needs: mlpredict
. "$HERE/../mlpredict/models.inc"
mlcompile -o plain.mlmodelc m.mil
mlcompile --optimize-for native -o m.mlmodelc m.mil
ls m.mlmodelc | sed 's/packed-.*/packed-SET/'
diff -r plain.mlmodelc m.mlmodelc | sed 's/packed-.*/packed-SET/'
mlpredict plain.mlmodelc x=[1,2,3]
mlpredict m.mlmodelc x=[1,2,3]
# Unchanged outputs are left alone, changed ones are not.
touch -d 2001-01-01 m.mlmodelc/model.mil
mlcompile --optimize-for native -o m.mlmodelc m.mil
find m.mlmodelc/model.mil ! -newermt 2002-01-01
mlcompile --optimize-for scalar,native -o m.mlmodelc m.mil
ls m.mlmodelc | grep -c packed
find m.mlmodelc/model.mil ! -newermt 2002-01-01
mlcompile -o m.mlmodelc m.mil
ls m.mlmodelc | grep -c packed || true
echo --- weights that have changed since
mlcompile --optimize-for native -o m.mlmodelc m.mil
sed -i 's/\[\[0x1p+0, /[[0x1.4p+2, /' m.mlmodelc/model.mil
mlpredict m.mlmodelc x=[1,2,3]
echo --- misuse
mlcompile --optimize-for nonsense -o n.mlmodelc m.mil 2>&1 | sed 's/x86-64-v4.*/x86-64-v4 .../' || true
mlcompile --optimize-for none,native -o n.mlmodelc m.mil 2>/dev/null || echo $?
mlcompile --optimize-for native -o n.mlarchive m.mil || echo $?
ls n.* 2>/dev/null | wc -l
