# needs: mlpredict mlcompile
# What can be trained: a network (one inner product, 2 to 1), a k-nearest-neighbour classifier, a pipeline of such two.
base64 -d >dense.mlmodel <<'END'
CAQSRwoOCgF4GgkqBwoBAhCggARSDgoBeRoJKgcKAQEQoIAEkgMOCgF4GgkqBwoBAhCggASSAxMKBnlfdHJ1ZRoJKgcKAQEQoIAEUAGiH4IBCjQKBWRlbnNl
EgF4GgF5UAHiCCIIAhABUAGiAQ0KCAAAgD8AAABAkAMBqgEJCgQAAAA/kAMBUkoKEwoEbG9zc1oLCgF5EgZ5X3RydWUSJVIjChQJexSuR+F6hD9SCREAAAAA
AADwPxIJCAhaBQoDBAgQGgAaCAgKUgQIARBkUgIIAQ==
END
base64 -d >knn.mlmodel <<'END'
CAQSQwoOCgF4GgkqBwoBAhCggARSCwoFbGFiZWwaAhoAWgVsYWJlbJIDDgoBeBoJKgcKAQIQoIAEkgMLCgVsYWJlbBoCGgBQAaIZSwosCAISCgoIAAAAAAAA
AAASCgoIAACAPwAAgD8SCgoIAACAPwAAAACiBgDCDAAaCAgBUgQIARADogYJCgFhCgFiCgFi8gYBYcIMAA==
END
base64 -d >pipeline.mlmodel <<'END'
CAQSQwoOCgF4GgkqBwoBAhCggARSCwoFbGFiZWwaAhoAWgVsYWJlbJIDDgoBeBoJKgcKAQIQoIAEkgMLCgVsYWJlbBoCGgBQAcIM6AEK5QEKVQgEEiAKDgoB
eBoJKgcKAQIQoIAEUg4KAWgaCSoHCgEBEKCABKIfLgosCgVkZW5zZRIBeBoBaOIIHAgCEAFQAaIBCgoIAACAPwAAAECqAQYKBAAAAD8KiwEIBBJDCg4KAWga
CSoHCgEBEKCABFILCgVsYWJlbBoCGgBaBWxhYmVskgMOCgFoGgkqBwoBARCggASSAwsKBWxhYmVsGgIaAFABohk/CiAIARIGCgQAAAAAEgYKBAAAYEASBgoE
AAAAQKIGAMIMABoICAFSBAgBEAOiBgkKAWEKAWIKAWLyBgFhwgwA
END
for model in dense knn pipeline; do
  mlinspect $model.mlmodel
  mlpredict --json $model.mlmodel 'x=[1,1]'
done
mlinspect --json dense.mlmodel | sed -n '/"training"/,/^  [}]/p'
mlinspect --json knn.mlmodel | sed -n '/"training"/,/^  [}]/p'
# Compiled, it still can.
mlcompile -o dense.mlmodelc dense.mlmodel
find dense.mlmodelc -type f | sort
mlinspect dense.mlmodelc | sed -n '/updatable/,/shuffle/p'
mlpredict --json dense.mlmodelc 'x=[1,1]'
mlcompile -o pipeline.mlmodelc pipeline.mlmodel
mlpredict --json pipeline.mlmodelc 'x=[1,1]'
