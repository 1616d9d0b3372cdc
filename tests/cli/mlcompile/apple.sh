# As Apple's compiler is called by build systems, under its name and under ours.
echo 'program(1.0) { func main<ios15>(fp32 x) { fp32 y = relu(x = x); } -> (y); }' >my-model.mil
coremlcompiler compile my-model.mil Out/ --deployment-target 14.0 --platform ios --sdkroot /SDKs/iPhoneOS.sdk \
  --output-partial-info-plist info.plist --container bundle-resources
find Out -type f | sort
cat info.plist
# The same bytes again are left alone.
touch -d 2001-01-01 Out/my-model.mlmodelc info.plist
mlcompile compile my-model.mil Out --output-partial-info-plist info.plist
find Out/my-model.mlmodelc info.plist -maxdepth 0 -newermt 2002-01-01
# Names first, for the build system's own list; then the files.
coremlcompiler generate my-model.mil Sources --dry-run yes --language Swift --swift-version 5 --platform ios --deployment-target 17.0 --public-access
[ ! -e Sources ]
coremlcompiler generate --language Swift my-model.mil Sources --swift-version 5 --platform ios --deployment-target 17.0 --public-access
grep -c 'public class my_model' Sources/my-model.swift
grep -m 1 @available Sources/my-model.swift
mlcompile generate my-model.mil Sources
mlcompile metadata my-model.mil | grep -e generatedClassName -e iOS
for wrong in '' 'compile my-model.mil' 'generate my-model.mil Out --language Pascal' 'compile my-model.mil Out --platform amiga' \
  'compile my-model.mil Out --encrypt key' 'generate my-model.mil Out --public-access' 'compile nothing.mlmodel Out' 'generate my-model.mil Out --dry-run maybe'; do
  status=0
  coremlcompiler $wrong || status=$?
  echo "$status"
done
