# Wrong usage: exit 2. Foreseen but absent: exit 4. Nothing is written.
try() { mlcompile "$@" || echo "$?"; }
echo 'program(1.3) { func main<ios18>(fp32 x) { fp32 y = relu(x = x); } -> (y); }' >m.mil
try
try m.mil
try -o out m.mil
try -o out.mlmodelc m.mil m.mil
try -o out.mlmodelc --archive m.mil
try -o m.mil --archive m.mil
try -o - --depfile d m.mil
try -o out.mlmodelc --no-such m.mil
try -o out.mlmodelc --generate swift m.mil
try -o out.mlmodelc --encrypt -r age1 m.mil

try -o out.mlmodelc --encrypt m.mil
ls
