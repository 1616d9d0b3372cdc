# A package is sealed as an uncompressed zip, the same bytes every time, and becomes a directory again.
R=$(mlencrypt keygen -o key)
mkdir -p m.mlpackage/Data/com.apple.CoreML/weights
echo model >m.mlpackage/Data/com.apple.CoreML/model.mlmodel
head -c 100000 /dev/zero >m.mlpackage/Data/com.apple.CoreML/weights/weight.bin
cat >m.mlpackage/Manifest.json <<'END'
{"fileFormatVersion": "1.0.0", "rootModelIdentifier": "A", "itemInfoEntries": {"A": {"path":
"com.apple.CoreML/model.mlmodel", "author": "com.apple.CoreML", "name": "model.mlmodel", "description": ""}}}
END
mlencrypt -r $R -o m.age m.mlpackage
mlencrypt -d -i key -o back.mlpackage m.age
diff -r m.mlpackage back.mlpackage
mlencrypt -d -i key -o again.mlpackage/ m.age
diff -r m.mlpackage again.mlpackage
mlencrypt -d -i key -o again.mlpackage m.age
diff -r m.mlpackage again.mlpackage
mlencrypt -d -i key m.age >m.zip
head -c 2 m.zip
echo
mlencrypt -r $R m.mlpackage/ | mlencrypt -d -i key | cmp - m.zip
status=0
mkdir folder
mlencrypt -r $R -o x.age folder || status=$?
echo $status
# A name alone makes no package.
echo text | mlencrypt -r $R | mlencrypt -d -i key -o text.mlpackage
cat text.mlpackage
ls -A
