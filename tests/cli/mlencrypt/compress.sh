# needs: zstd
# Compressed before sealing: opened as .zst, or straight into a package.
R=$(mlencrypt keygen -o key)
head -c 300000 /dev/zero >m
mlencrypt --compress -r $R -o m.age m
[ $(stat -c %s m.age) -lt 2000 ]
mlencrypt -d -i key -o - m.age | zstd -dqc | cmp - m
mkdir -p a.mlpackage/Data
echo '{"fileFormatVersion":"1.0.0","itemInfoEntries":{},"rootModelIdentifier":"x"}' >a.mlpackage/Manifest.json
echo weights >a.mlpackage/Data/w
mlencrypt --compress -r $R -o p.age a.mlpackage
mlencrypt -d -i key -o b.mlpackage p.age
diff -r a.mlpackage b.mlpackage
