# needs: mlpredict
# A neural network: its compiled form is written, and read again.
base64 -d >dense.mlmodel <<'END'
CAQSRwoOCgF4GgkqBwoBAhCggARSDgoBeRoJKgcKAQEQoIAEkgMOCgF4GgkqBwoBAhCggASSAxMKBnlfdHJ1ZRoJKgcKAQEQoIAEUAGiH4IBCjQKBWRlbnNl
EgF4GgF5UAHiCCIIAhABUAGiAQ0KCAAAgD8AAABAkAMBqgEJCgQAAAA/kAMBUkoKEwoEbG9zc1oLCgF5EgZ5X3RydWUSJVIjChQJexSuR+F6hD9SCREAAAAA
AADwPxIJCAhaBQoDBAgQGgAaCAgKUgQIARBkUgIIAQ==
END
mlcompile -o dense.mlmodelc dense.mlmodel
cat dense.mlmodelc/model.espresso.net
echo
cat dense.mlmodelc/model.espresso.shape
echo
mlpredict --json dense.mlmodelc 'x=[1,1]'
# One with a layer whose form is not known (a custom layer would be another): refused by name, or kept.
base64 -d >plus.mlmodel <<'END'
CAESIAoOCgF4GgkqBwoBAhCggARSDgoBeRoJKgcKAQIQoIAEoh8UChIKBHBsdXMSAXgaAXmSCAOyBAA=
END
mlcompile -o plus.mlmodelc plus.mlmodel || echo $?
mlcompile --keep-source -o plus.mlmodelc plus.mlmodel
find plus.mlmodelc -type f | sort
mlpredict --json plus.mlmodelc 'x=[1,1]'
