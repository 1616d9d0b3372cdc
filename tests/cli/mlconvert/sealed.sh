# needs: mlencrypt
# A sealed source is opened in memory, given its key, and converts to the same package.
. "$HERE/models.bash"
model mlp >m.onnx
recipient=$(mlencrypt keygen -o key)
mlencrypt -r "$recipient" -o m.age m.onnx
mlconvert m.age -o refused.mlpackage || echo $?
mlconvert -i key m.age -o sealed.mlpackage
mlconvert m.onnx -o open.mlpackage
diff -r sealed.mlpackage open.mlpackage && ls
