# needs: mlinspect unzip
# Several models in variants, and which of them a device gets.
mkdir in
for name in large small words; do echo "program(1.0) { func main<ios16>(fp16 $name) { fp16 y = relu(x = $name); } -> (y); }" >in/$name.mil; done
mlcompile -o in/words.mlmodelc in/words.mil
cat >in/rules.json <<'JSON'
{"identifier": "Camera",
 "models": [
   {"identifier": "detector", "variants": [
     {"model": "large.mil", "when": {"deviceClass": ["mac", "ipad"], "osVersion": {"atLeast": "17.0", "below": "20"}}},
     {"model": "large.mil", "when": {"region": ["DE", "AT"], "language": "de", "appVersion": {"atLeast": "2.10"}}},
     {"model": "small.mil"}]},
   {"identifier": "words", "variants": [{"model": "words.mlmodelc", "when": {"language": ["en"]}}]}]}
JSON
mlcompile --collection in/rules.json --depfile deps.d -o Camera
ls Camera
cat deps.d
grep -v -e sha256 -e bytes Camera/manifest.json
unzip -p Camera/detector-2.mlarchive model.mil | grep -c small
mlinspect Camera | sed 's/([0-9]* bytes)/(N bytes)/'
mlinspect --validate Camera
select_for() {
  status=0
  mlinspect "$@" Camera || status=$?
  echo "$status"
}
select_for --device deviceClass=iPad --device osVersion=17 --device language=en-GB
select_for --device deviceClass=ipad --device osVersion=20.0 --device region=de --device language=de-AT --device appVersion=2.9.9
select_for --json --device deviceClass=iphone --device language=de_DE --device region=AT --device appVersion=2.10
select_for --device colour=red
select_for --device osVersion=new
select_for --ops
# Unchanged is untouched; damage is found.
touch -d 2001-01-01 Camera
mlcompile --collection in/rules.json -o Camera
find Camera -maxdepth 0 -newermt 2002-01-01
echo >>Camera/detector-0.mlarchive
rm Camera/words-0.mlarchive
select_for --validate
